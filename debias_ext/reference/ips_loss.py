"""`ips_loss` in plain torch."""

from __future__ import annotations

from torch import Tensor

from debias_ext.reference._losses import error, inverse_propensity, reduce


def ips_loss(
    scores: Tensor,
    targets: Tensor,
    propensities: Tensor | None = None,
    *,
    propensity_logits: Tensor | None = None,
    loss: str = "mse",
    clip_min: float | None = None,
    floor: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    weights = inverse_propensity(propensities, propensity_logits, clip_min, floor)
    return reduce(weights * error(scores, targets, loss), reduction)
