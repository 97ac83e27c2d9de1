"""`interd_loss` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext.reference._losses import interd_epsilon, reduce


def interd_loss(
    scores: Tensor,
    biased: Tensor,
    debiased: Tensor,
    ratings: Tensor | None = None,
    *,
    debiased_weight: Tensor | None = None,
    gamma: float,
    variant: str = "soft",
    detach_target: bool = True,
    epsilon: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`epsilon`: e of InterD, by default that of the dtype."""
    biased, debiased = biased.detach(), debiased.detach()
    if epsilon is None:
        epsilon = interd_epsilon(scores.dtype)
    if ratings is not None:
        known = ratings.detach()
    elif variant == "zero":
        known = torch.zeros_like(scores)
    else:
        known = scores
    biased_loss = (biased - known).square()
    debiased_loss = (debiased - known).square()
    if debiased_weight is not None:
        debiased_loss = debiased_weight.detach() * debiased_loss
    if variant == "hard":
        to_biased = (1 + torch.sign(gamma * torch.sign(biased_loss - debiased_loss))) / 2
    else:
        to_biased = torch.sigmoid(gamma * (torch.log(biased_loss + epsilon) - torch.log(debiased_loss + epsilon)))
    target = to_biased * biased + (1 - to_biased) * debiased
    if detach_target:
        target = target.detach()
    return reduce((scores - target).square(), reduction)
