"""How the public InterD program measures its teachers and makes its targets."""

from __future__ import annotations

import torch
from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.methods.autodebias import MISSING, RATED, AutoDebias
from debiasrec.methods.base import Method


class PublishedTargets:
    """Targets between a biased teacher and AutoDebias, whose error here is the weighted one that it was trained on.

        rated pairs:    Lb = (rb - r)^2,   Ld = w1 (rd - r)^2 + w2 (rd - m)^2
        missing pairs:  Lb = (rb - s)^2,   Ld = w2 (m - s)^2

    with the weights w1, w2 and the imputed value m of AutoDebias. The slope runs through the coefficients of the
    missing pairs, which depend on s. Every pair of a block is a number in several matrices here.

    Args:
        teacher: a fitted AutoDebias, not one that was loaded: its weights are not saved.
        hard: take the teacher of the smaller error alone, the mean on ties.
        from_zero: put 0 in the place of s in the coefficients.

    Source: the public program of Ding et al. 2022; eq (7) there has (rd - s)^2 for missing pairs.
    """

    def __init__(self, teacher: AutoDebias, *, hard: bool, from_zero: bool) -> None:
        self.hard, self.from_zero = hard, from_zero
        with torch.no_grad():
            self.imputed = teacher.imputed_values()
            self.w1, self.w2 = teacher.w1_, teacher.w2_

    @torch.no_grad()
    def rated(
        self,
        pairs: tuple[Tensor, Tensor, Tensor],
        ratings: Tensor,
        biased: Tensor,
        debiased: Tensor,
        gamma: float,
    ) -> Tensor:
        """The targets of rated pairs, [B].

        Args:
            pairs: users, items and labels (1 positive, 0 negative), int64 [B].
            ratings: as encoded, [B].
            biased, debiased: scores of the teachers, [B].
            gamma: of rated pairs.
        """
        users, items, labels = pairs
        known = self.w1.of(users, items, labels) * (debiased - ratings) ** 2
        weight = self.w2.of(users, items, torch.full_like(labels, RATED))
        imputed = weight * (debiased - self.imputed[1:][labels]) ** 2
        return self._between(biased, debiased, (biased - ratings) ** 2, known + imputed, gamma)

    def missing_loss(
        self,
        block: tuple[Tensor, Tensor],
        grids: tuple[Tensor, ...],
        rated: tuple[Tensor, Tensor],
        gamma: float,
    ) -> Tensor:
        """The summed (s - r'*)^2 of the missing pairs of a block, differentiable in s through r'* as well.

        Args:
            block: its users [m] and items [n].
            grids: scores [m, n] of the student, the biased and the debiased teacher.
            rated: rows and columns of the rated pairs.
            gamma: of missing pairs.
        """
        scores, biased, debiased = grids
        known = torch.zeros_like(scores) if self.from_zero else scores
        with torch.no_grad():
            factors = self.w2.factors(block[0].cpu(), block[1].cpu(), MISSING)
        of_users, of_items = (factor.to(scores.device) for factor in factors)
        imputed_loss = of_users[:, None] * of_items * (self.imputed[MISSING] - known) ** 2
        target = self._between(biased, debiased, (biased - known) ** 2, imputed_loss, gamma)
        missing = torch.ones_like(biased)
        missing[rated] = 0.0
        return (missing * (scores - target) ** 2).sum()

    def _between(
        self, biased: Tensor, debiased: Tensor, biased_loss: Tensor, debiased_loss: Tensor, gamma: float
    ) -> Tensor:
        if self.hard:
            weight = (1 + torch.sign(debiased_loss - biased_loss)) / 2
        else:
            epsilon = 1e-12 if biased.dtype == torch.float64 else 1e-8
            weight = torch.sigmoid(gamma * (torch.log(biased_loss + epsilon) - torch.log(debiased_loss + epsilon)))
        return weight * biased + (1 - weight) * debiased


def check_published_teacher(teacher: Method) -> None:
    """Raise a DebiasRecError unless it is AutoDebias, not fitted yet or fitted in this process."""
    loaded = hasattr(teacher, "history_") and not hasattr(teacher, "w1_")
    if not isinstance(teacher, AutoDebias) or loaded:
        raise DebiasRecError(
            "published=True needs debiased_teacher to be autodebias, by name or fitted in this process, "
            f"got {teacher.name}"
        )
