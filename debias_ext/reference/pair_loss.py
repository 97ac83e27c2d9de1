"""`pair_loss` in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext.reference._losses import reduce


def pair_loss(
    positive_scores: Tensor,
    negative_scores: Tensor,
    *,
    weights: Tensor | None = None,
    positive_popularity: Tensor | None = None,
    negative_popularity: Tensor | None = None,
    gamma: float = 0.0,
    kind: str = "bpr",
    reduction: str = "mean",
) -> Tensor:
    if kind not in ("bpr", "pda"):
        raise ValueError(f"kind must be 'bpr' or 'pda', got {kind!r}")
    positive, negative = positive_scores, negative_scores
    if kind == "pda":
        positive, negative = _above_zero(positive), _above_zero(negative)
        if positive_popularity is not None:
            positive = positive_popularity.detach().pow(gamma) * positive
        if negative_popularity is not None:
            negative = negative_popularity.detach().pow(gamma) * negative
    rows = -F.logsigmoid(positive - negative)
    return reduce(rows if weights is None else weights * rows, reduction)


def _above_zero(scores: Tensor) -> Tensor:
    """ELU + 1: s + 1 above 0, e^s below."""
    return torch.where(scores > 0, scores + 1, torch.exp(scores.clamp(max=0)))
