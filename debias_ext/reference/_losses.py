"""Building blocks of the reference losses, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def error(scores: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Row by row: (s - t)^2, |s - t|, or softplus(s) - t s (cross-entropy of sigmoid(s) to the soft target t)."""
    if loss == "mse":
        return (scores - targets).square()
    if loss == "mae":
        return (scores - targets).abs()
    if loss == "bce":
        return -F.logsigmoid(-scores) - targets * scores  # has its slope 1/2 at 0, unlike max(s, 0) + log1p(e^-|s|)
    raise ValueError(f"loss must be 'mse', 'mae' or 'bce', got {loss!r}")


def reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    if reduction == "mean":
        return rows.mean()
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def interd_epsilon(dtype: torch.dtype) -> float:
    """e of InterD's log(L + e)."""
    return 1e-12 if dtype == torch.float64 else 1e-8


def inverse_propensity(
    propensities: Tensor | None, propensity_logits: Tensor | None, clip_min: float | None, floor: float | None
) -> Tensor:
    """1 / max(q', clip_min) with q' = floor + (1 - floor) q; 1 / sigmoid(t) = 1 + e^-t."""
    low = floor or 0.0
    if propensities is not None:
        floored = low + (1 - low) * propensities
        return 1 / (floored if clip_min is None else floored.clamp(min=clip_min))
    assert propensity_logits is not None
    smallest = -87.0 if propensity_logits.dtype == torch.float32 else -708.0
    e = torch.exp(-propensity_logits.clamp(min=smallest))
    weights = (1 + e) / (1 + low * e)
    return weights if clip_min is None else weights.clamp(max=1 / clip_min)
