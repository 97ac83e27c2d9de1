"""`snips_loss` in plain torch."""

from __future__ import annotations

from torch import Tensor

from debias_ext.reference._losses import error, inverse_propensity


def snips_loss(
    scores: Tensor,
    targets: Tensor,
    propensities: Tensor | None = None,
    *,
    propensity_logits: Tensor | None = None,
    loss: str = "mse",
    clip_min: float | None = None,
    floor: float | None = None,
    normaliser: tuple[float, int] | None = None,
) -> Tensor:
    weights = inverse_propensity(propensities, propensity_logits, clip_min, floor)
    total = (weights * error(scores, targets, loss)).sum()
    if normaliser is None:
        return total / weights.sum()
    normaliser_sum, rows = normaliser
    return total / scores.numel() * (rows / normaliser_sum)
