"""Building blocks of the reference losses, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def error(scores: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Row by row: (s - t)^2, |s - t|, or softplus(s) - t s (binary cross-entropy of sigmoid(s) to the soft target t)."""
    if loss == "mse":
        return (scores - targets).square()
    if loss == "mae":
        return (scores - targets).abs()
    if loss == "bce":
        return scores.clamp(min=0) + torch.log1p(torch.exp(-scores.abs())) - targets * scores
    raise ValueError(f"loss must be 'mse', 'mae' or 'bce', got {loss!r}")


def reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    if reduction == "mean":
        return rows.mean()
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def inverse_propensity(
    propensities: Tensor | None, propensity_logits: Tensor | None, clip_min: float | None, floor: float | None
) -> Tensor:
    """1 / max(q', clip_min) with q' = floor + (1 - floor) q; 1 / sigmoid(t) = 1 + e^-t."""
    low = floor or 0.0
    if propensities is not None:
        weights = 1 / (low + (1 - low) * propensities)
    else:
        assert propensity_logits is not None
        smallest = -87.0 if propensity_logits.dtype == torch.float32 else -708.0
        e = torch.exp(-propensity_logits.clamp(min=smallest))
        weights = (1 + e) / (1 + low * e)
    return weights if not clip_min else weights.clamp(max=1 / clip_min)


