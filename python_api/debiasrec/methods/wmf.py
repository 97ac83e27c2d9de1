"""Weighted matrix factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.implicit import positives
from debiasrec.methods.options import flag, number
from debiasrec.methods.trained import Learner, Trained
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class WMF(Trained):
    """Matrix factorisation that takes an unrated pair for a weak sign of dislike.

    With z the target of the lowest rating and w the missing weight,

        L = sum over rated pairs of (s - t)^2  +  w * sum over unrated pairs of (s - z)^2.

    The sum over unrated pairs is a product of small Gram matrices less the rated ones (no pair is enumerated). A flat
    batch, a share of the rated pairs, takes the same share of it. With reduction="mean" L is divided by the sum of the
    weights, 1 and w, that such a batch holds on average.

    Args:
        missing_weight: w; 0 leaves plain matrix factorisation.
        positives_only: clicks: the negative ratings count as unrated pairs.

    Source: Hu, Koren, Volinsky, ICDM 2008, eq (3), with gradient steps in place of alternating least squares, biases,
        and the weights 1 and w of explicit ratings.
    """

    name: ClassVar[str] = "wmf"
    summary: ClassVar[str] = "weighted matrix factorisation: unrated pairs count as weak dislikes"
    source: ClassVar[str] = "Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008"
    needs_empty_blocks: ClassVar[bool] = True

    missing_weight: float = number(0.01, least=0)
    positives_only: bool = flag(False)

    def training_rows(self, split: Split) -> Interactions:
        """The biased rows, or the positive ones of them."""
        return positives(split) if self.positives_only else super().training_rows(split)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The target of unrated pairs."""
        self._missing_target = float(self.encode(np.array(split.dataset.rating_scale[:1]))[0])
        return {}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model, with the gradient of all pairs."""
        self._everything = torch.arange(self.n_users_, device=device), torch.arange(self.n_items_, device=device)
        return {"rating": self._loss_learner(self.model_, self.lr, self.l2)}

    def one_pass(self) -> bool:
        """Unrated pairs train as well."""
        return False

    def step(self, batch: Batch) -> Tensor:
        """A step on the rated pairs of a batch and the unrated ones that it stands for."""
        loss = self.loss(batch)
        self.learners_["rating"].update(loss, batch, scale=self._l2_scale(self._total_weight(batch), 1.0))
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The errors of rated pairs, and the weighted ones of unrated pairs."""
        if batch.block is None:
            tables, places = self.model_.block(*self._everything), (batch.users, batch.items)
        else:
            tables, places = self.model_.block(*batch.block), batch.places(self.n_users_, self.n_items_)
        targets, weight = batch["targets"], self.missing_weight * self._share(batch)
        every = debias_ext.ConstantTarget(
            self._missing_target,
            user_weight=torch.full_like(tables.user_bias, weight),
            # The rated pairs are no unrated ones: their part of the sum over all pairs is w, whatever the share.
            rated_weights=torch.full_like(targets, weight - self.missing_weight),
            rated_values=torch.full_like(targets, self._missing_target),
        )
        loss = debias_ext.block_loss(**tables._asdict(), rated=(*places, targets), unobserved=every)
        return loss / self._total_weight(batch) if self.reduction == "mean" else loss

    def _share(self, batch: Batch) -> float:
        """The share of the sum over the block, or over all pairs, that the batch stands for."""
        return len(batch) / self.n_rows_ if batch.block is None else 1.0

    def _total_weight(self, batch: Batch) -> float:
        rated = self._expected_rated(batch)
        return rated + self.missing_weight * (rated / self._density() - rated)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._everything
