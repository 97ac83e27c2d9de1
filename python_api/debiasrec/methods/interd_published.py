"""How the public InterD program measures its teachers and makes its targets."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import FactorTables
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

    Raises:
        DebiasRecError: another teacher.

    Source: the public program of Ding et al. 2022; eq (7) there has (rd - s)^2 for missing pairs.
    """

    def __init__(self, teacher: Method, *, hard: bool, from_zero: bool) -> None:
        if not isinstance(teacher, AutoDebias) or not hasattr(teacher, "w1_"):
            raise DebiasRecError(
                "published=True needs debiased_teacher to be autodebias, by name or fitted in this process, "
                f"got {teacher.name}"
            )
        self.teacher, self.hard, self.from_zero = teacher, hard, from_zero
        with torch.no_grad():
            self.imputed = teacher.imputed_values()

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
        known = self.teacher.w1_.of(users, items, labels) * (debiased - ratings) ** 2
        weight = self.teacher.w2_.of(users, items, torch.full_like(labels, RATED))
        imputed = weight * (debiased - self.imputed[1:][labels]) ** 2
        return self._between(biased, debiased, (biased - ratings) ** 2, known + imputed, gamma)

    def missing_loss(
        self,
        block: tuple[Tensor, Tensor],
        tables: tuple[FactorTables, FactorTables, FactorTables],
        rated: tuple[Tensor, Tensor],
        gamma: float,
    ) -> Tensor:
        """The summed (s - r'*)^2 of the missing pairs of a block, differentiable in s through r'* as well.

        Args:
            block: its users [m] and items [n].
            tables: of the student, the biased and the debiased teacher, in the block.
            rated: rows and columns of the rated pairs.
            gamma: of missing pairs.
        """
        scores, biased, debiased = (_scores(model) for model in tables)
        known = torch.zeros_like(scores) if self.from_zero else scores
        with torch.no_grad():
            factors = self.teacher.w2_.factors(block[0].cpu(), block[1].cpu(), MISSING)
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


def _scores(tables: FactorTables) -> Tensor:
    """The scores of all pairs of a block, [m, n]."""
    user_factors, item_factors, user_bias, item_bias = tables
    assert user_bias is not None
    assert item_bias is not None
    return user_factors @ item_factors.T + user_bias[:, None] + item_bias
