"""What the public functions do to their arguments before the operators check them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)


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


def validated(validate: bool, tensor: Tensor) -> bool:
    """Values on a CUDA device are checked unless the caller says no, or a graph is being captured."""
    return validate and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def exactly_one(first: str, a: Tensor | None, second: str, b: Tensor | None) -> None:
    """Raises a ValueError unless one of two alternative arguments is given."""
    if (a is None) == (b is None):
        raise ValueError(f"give exactly one of {first} and {second}, got {'both' if a is not None else 'neither'}")
