"""`pointwise_loss` in plain torch."""

from __future__ import annotations

from torch import Tensor

from debias_ext.reference._losses import error, reduce


def pointwise_loss(
    scores: Tensor, targets: Tensor, weights: Tensor | None = None, *, loss: str = "mse", reduction: str = "mean"
) -> Tensor:
    rows = error(scores, targets, loss)
    return reduce(rows if weights is None else weights * rows, reduction)
