"""Checks of hyper-parameters, before anything is trained."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch

from debias_ext._cuda import cuda_status
from debiasrec.data.validation import is_whole
from debiasrec.errors import DebiasRecError
from debiasrec.propensity import PROPENSITIES
from debiasrec.training.optimizer import OPTIMIZERS
from debiasrec.training.validation import CRITERIA

if TYPE_CHECKING:
    from debiasrec.methods.base import Method

_CHOICES: dict[str, tuple[str, ...]] = {
    "l2_rows": ("touched", "block"),
    "batching": ("flat", "block"),
    "optimizer": tuple(OPTIMIZERS),
    "reduction": ("mean", "sum"),
    "target": ("signed", "binary", "stars"),
    "criterion": CRITERIA,
    "propensity": ("auto", *PROPENSITIES),
    "propensity_levels": ("stars", "binary"),
    "normaliser": ("full", "batch"),
}
_COUNTS = ("factors", "batch_size", "user_block", "item_block", "max_epochs", "patience", "imputation_factors")
_POSITIVE = ("lr", "imputation_lr", "clip_min")
_NOT_NEGATIVE = ("l2", "imputation_l2")
_MAY_BE_NONE = ("clip_min", "imputation_lr", "imputation_l2")


def check_options(method: Method) -> None:
    """Raise a DebiasRecError that names the first hyper-parameter out of its range."""
    for option, value in method.get_params().items():
        expected = _expected(option, value)
        if expected:
            raise DebiasRecError(f"{method.name}: {option} must be {expected}, got {value!r}")
    if method.l2_rows == "block" and method.batching == "flat":
        raise DebiasRecError(f'{method.name}: l2_rows="block" needs batching="block", got batching="flat"')


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


def _expected(option: str, value: Any) -> str:
    """What the option should have been; empty when it is fine."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    whole = is_whole(value)
    if value is None and option in _MAY_BE_NONE:
        return ""
    if option in _CHOICES:
        return "" if value in _CHOICES[option] else "one of " + ", ".join(_CHOICES[option])
    if option in _COUNTS:
        return "" if whole and value >= 1 else "a whole number, at least 1"
    if option == "joint":
        return "" if isinstance(value, bool) else "true or false"
    if option in ("seed", "imputation_epochs"):
        return "" if whole and value >= 0 else "a whole number, at least 0"
    if option in _POSITIVE:
        return "" if number and value > 0 else "a number above 0"
    if option in _NOT_NEGATIVE:
        return "" if number and value >= 0 else "a number, at least 0"
    return ""
