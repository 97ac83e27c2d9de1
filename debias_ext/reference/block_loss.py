"""`block_loss` in plain torch: every pair in matrices of m x n."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext._block_targets import ConstantTarget, DRTarget, FactorTables, InterDTarget, Rated
from debias_ext.reference._losses import error, interd_epsilon


def block_loss(
    user_factors: Tensor,
    item_factors: Tensor,
    *,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    rated: Rated,
    unobserved: ConstantTarget | DRTarget | InterDTarget,
    reduction: str = "sum",
    epsilon: float | None = None,
) -> Tensor:
    """`epsilon`: e of InterD, by default that of the dtype."""
    scores = all_scores(FactorTables(user_factors, item_factors, user_bias, item_bias))
    rows, columns, targets = rated[:3]
    weights = rated[3] if len(rated) == 4 else None
    if weights is None:
        weights = torch.ones_like(targets)
    at = (rows.long(), columns.long())
    missing = torch.ones_like(scores, dtype=torch.bool).index_put(at, torch.tensor(False, device=scores.device))
    if isinstance(unobserved, ConstantTarget):
        loss = _square(scores[at], targets, weights) + _constant(scores, at, missing, unobserved)
    elif isinstance(unobserved, DRTarget):
        loss = _doubly_robust(scores, at, targets, weights, unobserved)
    else:
        loss = _square(scores[at], targets, weights) + _interd(scores, missing, unobserved, epsilon)
    return loss / scores.numel() if reduction == "mean" else loss


def all_scores(tables: FactorTables) -> Tensor:
    scores = tables.user_factors @ tables.item_factors.T
    if tables.user_bias is not None:
        scores = scores + tables.user_bias.unsqueeze(1)
    return scores if tables.item_bias is None else scores + tables.item_bias


def _square(scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (weights * (scores - targets).square()).sum()


def _constant(scores: Tensor, at: tuple[Tensor, Tensor], missing: Tensor, target: ConstantTarget) -> Tensor:
    terms = (scores - target.value).square()
    if target.user_weight is not None:
        terms = terms * target.user_weight.unsqueeze(1)
    if target.item_weight is not None:
        terms = terms * target.item_weight
    if target.rated_weights is not None and target.rated_values is not None:
        own = _square(scores[at], target.rated_values, target.rated_weights)
        return torch.where(missing, terms, 0.0).sum() + own
    return terms.sum() if target.rated == "join" else torch.where(missing, terms, 0.0).sum()


def _doubly_robust(
    scores: Tensor, at: tuple[Tensor, Tensor], targets: Tensor, weights: Tensor, target: DRTarget
) -> Tensor:
    imputed = all_scores(target.imputation)
    if target.form == "residual":
        pseudo = (scores - (scores.detach() + imputed)).square()
        return pseudo.sum() + (weights * ((scores[at] - targets).square() - pseudo[at])).sum()
    pseudo = error(scores, imputed.sigmoid(), "bce")
    return pseudo.sum() + (weights * (error(scores[at], targets, "bce") - pseudo[at])).sum()


def _interd(scores: Tensor, missing: Tensor, target: InterDTarget, epsilon: float | None) -> Tensor:
    biased, debiased = all_scores(target.biased), all_scores(target.debiased)
    if epsilon is None:
        epsilon = interd_epsilon(scores.dtype)
    known = torch.zeros_like(scores) if target.variant == "zero" else scores
    biased_loss, debiased_loss = (biased - known).square(), (debiased - known).square()
    if target.variant == "hard":
        sign = torch.sign(torch.tensor(target.gamma, dtype=scores.dtype, device=scores.device))
        weight = 0.5 + 0.5 * sign * torch.sign(biased_loss - debiased_loss)
    else:
        logit = target.gamma * (torch.log(biased_loss + epsilon) - torch.log(debiased_loss + epsilon))
        weight = torch.sigmoid(logit)
    goal = weight * biased + (1 - weight) * debiased
    if target.detach_target or target.variant != "soft":
        goal = goal.detach()
    return target.beta * torch.where(missing, (scores - goal).square(), 0.0).sum()
