"""Hyper-parameters declare their ranges where they stand; checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from debias_ext._cuda import cuda_status
from debiasrec.data.validation import is_whole
from debiasrec.errors import DebiasRecError

if TYPE_CHECKING:
    from debiasrec.methods.base import Method


@dataclass(frozen=True)
class Range:
    """What values an option takes.

    Attributes:
        expected: in words, for the error.
        holds: whether a value is one of them.
        low, high: bounds of a number, where there are any.
        choices: the values of a choice.
        teacher: whether the value is a method to learn from.
    """

    expected: str
    holds: Callable[[Any], bool]
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    teacher: bool = False


def whole(default: int, *, least: int = 1) -> Any:
    """A field that takes whole numbers of at least `least`."""
    return _option(
        default, Range(f"a whole number, at least {least}", lambda value: is_whole(value) and value >= least, least)
    )


def number(
    default: float | None,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    none: bool = False,
) -> Any:
    """A field that takes finite numbers in a range, and None where `none`."""
    low = above if above is not None else least
    limits = [f"above {above:g}"] if above is not None else [f", at least {least:g}"] if least is not None else []
    limits += [] if most is None else [f"{'and' if limits else ','} at most {most:g}"]
    expected = " ".join(["a number", *limits]).replace(" ,", ",") + (" or None" if none else "")

    def holds(value: Any) -> bool:
        if value is None:
            return none
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not math.isfinite(value):
            return False
        inside = low is None or (value > low if above is not None else value >= low)
        return bool(inside and (most is None or value <= most))

    return _option(default, Range(expected, holds, low, most))


def choice(default: str | None, *values: str | None) -> Any:
    """A field that takes one of a few names."""
    expected = "one of " + ", ".join(str(value) for value in values)
    return _option(default, Range(expected, lambda value: value in values, choices=values))


def flag(default: bool) -> Any:
    """A field that takes true or false."""
    return _option(default, Range("true or false", lambda value: isinstance(value, bool), choices=(False, True)))


def teacher(default: str | None) -> Any:
    """A field that takes a registered method's name or a method, fitted or not; None where that is the default."""

    def holds(value: Any) -> bool:
        from debiasrec.methods.base import Method
        from debiasrec.methods.registry import REGISTRY

        return value in REGISTRY if isinstance(value, str) else isinstance(value, Method) or value is default

    return _option(default, Range("the name of a method or a method", holds, teacher=True))


def _option(default: Any, range_: Range) -> Any:
    return field(default=default, metadata={"range": range_})


def ranges(method: Method | type[Method]) -> dict[str, Range]:
    """The ranges of a method's hyper-parameters by name."""
    return {option.name: option.metadata["range"] for option in fields(method) if "range" in option.metadata}


def check_options(method: Method) -> None:
    """Raise a DebiasRecError that names the first hyper-parameter out of its range."""
    for option, range_ in ranges(method).items():
        value = getattr(method, option)
        if not range_.holds(value):
            raise DebiasRecError(f"{method.name}: {option} must be {range_.expected}, got {value!r}")
    method.check_combination()


def check_device(device: str | torch.device) -> None:
    """Raise a DebiasRecError unless the device is the CPU, or a CUDA device that works here."""
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError):
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise DebiasRecError(f"device must be cpu, cuda or cuda:N, got {str(device)!r}")
    if kind == "cuda":
        works, reason = cuda_status()
        if not works:
            raise DebiasRecError(f"device {str(device)!r} cannot be used: {reason}")
