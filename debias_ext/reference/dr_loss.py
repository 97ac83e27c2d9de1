"""`dr_loss` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext.reference._losses import error, reduce


def dr_loss(
    scores: Tensor,
    targets: Tensor,
    pseudo_targets: Tensor,
    propensities: Tensor,
    observed: Tensor,
    *,
    loss: str = "mse",
    reduction: str = "mean",
) -> Tensor:
    observed = observed.bool()
    target = torch.where(observed, targets, pseudo_targets.detach())
    propensity = torch.where(observed, propensities, 1.0)
    imputed = error(scores, pseudo_targets, loss)
    correction = (error(scores, target, loss) - imputed) / propensity
    return reduce(imputed + torch.where(observed, correction, 0.0), reduction)
