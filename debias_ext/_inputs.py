"""What the public functions do to their arguments before the operators check them."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from numbers import Real
from typing import Any

import torch
from torch import Tensor

_LOCK = threading.Lock()
_trusting = 0  # how many `trusted_values` are entered

_HALF = (torch.float16, torch.bfloat16)
TABLES = ("user_factors", "item_factors", "user_bias", "item_bias")  # of a matrix-factorisation model
NUMBER_OR_TENSOR = "a number or a 0-d tensor"
NOT_NEGATIVE = "finite and not negative"
_BOUNDS: dict[str, Callable[[float], bool]] = {
    "finite": lambda x: True,
    NOT_NEGATIVE: lambda x: x >= 0,
    "positive and finite": lambda x: x > 0,
    "in [0, 1)": lambda x: 0 <= x < 1,
    "in (0, 1)": lambda x: 0 < x < 1,
    "in (0, 1]": lambda x: 0 < x <= 1,
}


def check_tensor(name: str, value: object) -> None:
    """Raises a ValueError that names the argument when it is not a tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(value).__name__}")


def check_tensors(*, optional: Sequence[str] = (), **tensors: Tensor | None) -> None:
    """Raises a ValueError that names the first argument that is not a tensor, or not on the device of the first one.

    Tensors of several devices must not reach the dispatcher: beside a meta tensor it would run the fake kernel, and
    return memory that nobody wrote.
    """
    first = ""
    for name, tensor in tensors.items():
        if tensor is None and name in optional:
            continue
        check_tensor(name, tensor)
        assert tensor is not None
        if not first:
            first, device = name, tensor.device
        elif tensor.device != device:
            raise ValueError(f"{name} must be on the device of {first}, {device}, got {tensor.device}")


def dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_float(name: str, tensor: Tensor) -> None:
    """Raises a ValueError unless there are kernels for the dtype: half types on CUDA only."""
    if tensor.dtype not in (torch.float32, torch.float64, *(_HALF if tensor.is_cuda else ())):
        types = "float32, float64, float16 or bfloat16" if tensor.is_cuda else "float32 or float64"
        raise ValueError(f"{name} must be {types}, got {dtype_name(tensor)}")


def check_same_dtype(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    if tensor.dtype != like.dtype:
        raise ValueError(f"{name} must have the dtype of {like_name}, {dtype_name(like)}, got {dtype_name(tensor)}")


def loss_inputs(*, optional: Sequence[str] = (), **tensors: Tensor | None) -> list[Tensor | None]:
    """The checked tensors; under autocast, half types become float32. `optional` names those that may be None."""
    check_tensors(optional=optional, **tensors)
    values = list(tensors.values())
    if not torch._C._is_any_autocast_enabled():
        return values
    device = next(tensor.device.type for tensor in values if tensor is not None)
    if device not in ("cpu", "cuda") or not torch.is_autocast_enabled(device):
        return values
    return [tensor.float() if tensor is not None and tensor.dtype in _HALF else tensor for tensor in values]


@contextmanager
def trusted_values() -> Iterator[None]:
    """Within it the operators take `validate=False` on CUDA, for callers that have checked all values before.

    Notes:
        Values on the CPU are still checked, and so are shapes, dtypes and devices everywhere. It holds for all threads.
        What unchecked values lead to stands with `validate` of each operator; no kernel reads out of range.
    """
    global _trusting
    with _LOCK:
        _trusting += 1
    try:
        yield
    finally:
        with _LOCK:
            _trusting -= 1


def validated(validate: bool, tensor: Tensor) -> bool:
    """Values on a CUDA device are checked unless the caller says no, trusts them, or a graph is being captured."""
    return validate and not (tensor.is_cuda and (_trusting > 0 or torch.cuda.is_current_stream_capturing()))


def number(name: str, value: object, bounds: str = "finite", *, expected: str = "a number") -> float:
    """The value as a float; a ValueError that names the argument when it is none, or outside the bounds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be {expected}, got {type(value).__name__}")
    result = float(value)
    if torch.compiler.is_compiling():  # may be symbolic here: the compiled operator checks the bounds when it runs
        return result
    if not (math.isfinite(result) and _BOUNDS[bounds](result)):
        raise ValueError(f"{name} must be {bounds}, got {value}")
    return result


def optional_number(name: str, value: object, bounds: str = "finite") -> float | None:
    """None, or the value as a float."""
    return None if value is None else number(name, value, bounds)


def propensity_bounds(clip_min: object, floor: object, where: str = "{}") -> tuple[float | None, float | None]:
    """The checked options of losses with propensities; that they exclude each other is for the operators to say.

    `where` makes of their names what the caller wrote.
    """
    return (
        optional_number(where.format("clip_min"), clip_min, "in (0, 1]"),
        optional_number(where.format("floor"), floor, "in (0, 1)"),
    )


def integer(name: str, value: object, *, at_least: int | None = None) -> int:
    """The value as an int; a ValueError that names the argument when it is none, or too small."""
    try:
        if isinstance(value, bool):
            raise TypeError
        result = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if at_least is not None and result < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {result}")
    return result


def checked_betas(name: str, betas: object) -> tuple[float, float]:
    """The decay rates of Adam's two moments."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ValueError(f"{name} must be two numbers in [0, 1), got {betas!r}")
    return number(name, betas[0], "in [0, 1)"), number(name, betas[1], "in [0, 1)")


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raises a ValueError that names the option unless its value is an allowed one."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_keys(name: str, given: Any, known: Sequence[str], required: Sequence[str]) -> None:
    """Raises a ValueError that names the first key that is unknown or missing."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} must be a dict, got {type(given).__name__}")
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f", did you mean {near[0]!r}?" if near else f", expected some of {', '.join(known)}"
            raise ValueError(f"{name} has an unknown key {key!r}{hint}")
    for key in required:
        if given.get(key) is None:
            held = [repr(other) for other in given if given[other] is not None]
            raise ValueError(f"{name} must hold {key!r}, got {', '.join(held) or 'nothing'}")


def exactly_one(first: str, a: Tensor | None, second: str, b: Tensor | None) -> None:
    """Raises a ValueError unless one of two alternative arguments is given."""
    if (a is None) == (b is None):
        raise ValueError(f"give exactly one of {first} and {second}, got {'both' if a is not None else 'neither'}")
