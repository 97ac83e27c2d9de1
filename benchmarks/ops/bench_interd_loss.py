"""`interd_loss` against the lines of torch that it replaces."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import interd_loss

from ..harness import Benchmark, Case, Goal, Settings
from ._rows import Rows, row_case
from ._shared import COMPILED, EAGER

GAMMA, EPSILON = -0.7, 1e-8
GOALS = {EAGER: Goal(4, 6), COMPILED: Goal(1.5, 2)}


def observed(rows: int, settings: Settings) -> Case:
    """The rated pairs: four inputs, and the gradient of the scores."""

    def ours(scores: Tensor, biased: Tensor, debiased: Tensor, ratings: Tensor) -> Tensor:
        return interd_loss(scores, biased, debiased, ratings, gamma=GAMMA)

    def plain(scores: Tensor, biased: Tensor, debiased: Tensor, ratings: Tensor) -> Tensor:
        return _plain(scores, biased, debiased, ratings)

    data = Rows(rows, settings)
    biased = data.targets + 0.5 * data.pseudo_targets
    arguments = (data.scores, biased, data.pseudo_targets, data.targets)
    return row_case(ours, plain, arguments, data.differentiated(), settings)


def imputed(rows: int, settings: Settings) -> Case:
    """The missing pairs: three inputs, and the gradient of the scores."""

    def ours(scores: Tensor, biased: Tensor, debiased: Tensor) -> Tensor:
        return interd_loss(scores, biased, debiased, gamma=GAMMA)

    def plain(scores: Tensor, biased: Tensor, debiased: Tensor) -> Tensor:
        return _plain(scores, biased, debiased, scores.detach())

    data = Rows(rows, settings)
    biased = data.targets + 0.5 * data.pseudo_targets
    return row_case(ours, plain, (data.scores, biased, data.pseudo_targets), data.differentiated(), settings)


def _plain(scores: Tensor, biased: Tensor, debiased: Tensor, known: Tensor) -> Tensor:
    biased_loss, debiased_loss = (biased - known).square(), (debiased - known).square()
    logits = GAMMA * (torch.log(biased_loss + EPSILON) - torch.log(debiased_loss + EPSILON))
    target = torch.lerp(debiased, biased, torch.sigmoid(logits))
    return (scores - target).square().mean()


BENCHMARKS = [
    Benchmark("interd_loss", "rated pairs, forward + backward to the scores", 1_000_000, observed, GOALS),
    Benchmark("interd_loss_imputed", "missing pairs, forward + backward to the scores", 1_000_000, imputed, GOALS),
]
