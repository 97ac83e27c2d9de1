"""What the methods share that rank a positive item of a user above a negative one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.trained import Learner, Trained
from debiasrec.models import UnratedPairs
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class Pairwise(Trained):
    """A method of triples: a user, an item that it rated positive, and a negative one, drawn anew in every epoch.

    The negative item is one that the user rated negative; a user without one gets items at random from those that it
    has not rated. A method states the `pair_loss`.
    """

    def pair_loss(self, batch: Batch, negatives: Tensor) -> Tensor:
        """The loss of the positive pairs of a batch and these negative items, differentiable in the tables."""
        raise NotImplementedError

    def rated_negatives(self, split: Split) -> Interactions:
        """The rated pairs that negatives are drawn from; by default all negative training ratings."""
        rows = split.train
        return rows.take(~split.dataset.positives(rows.ratings))

    def training_rows(self, split: Split) -> Interactions:
        """The positive ratings of users that have a negative item, rated or not."""
        rows, n_users = split.train, split.dataset.n_users
        positive = rows.take(split.dataset.positives(rows.ratings))
        negatives = np.bincount(self.rated_negatives(split).users, minlength=n_users)
        unrated = negatives + np.bincount(positive.users, minlength=n_users) < split.dataset.n_items
        return positive.take(((negatives > 0) | unrated)[positive.users])

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The negative items of every user."""
        columns = super().prepare(split, rows)
        negative = self.rated_negatives(split)
        order = np.argsort(negative.users, kind="stable")
        self._negative_items = torch.tensor(negative.items[order])
        self._negative_counts = torch.from_numpy(np.bincount(negative.users, minlength=self.n_users_))
        self._negative_ends = self._negative_counts.cumsum(0)
        known = type(rows).concatenate(split.train.take(split.dataset.positives(split.train.ratings)), negative)
        self._unrated = UnratedPairs(known.users, known.items, self.n_users_, self.n_items_, self.seed)
        return columns

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner of the pairwise loss."""
        return {"rating": self._loss_learner(self.model_, self.lr, self.l2)}

    def one_pass(self) -> bool:
        """The loss is one of pairs of items."""
        return False

    def begin_epoch(self, epoch: int) -> None:
        """Random items depend on the seed and the epoch alone."""
        self._unrated.begin_epoch(epoch)

    def step(self, batch: Batch) -> Tensor:
        """One step on the positives of a batch and as many negatives."""
        negatives = self.negatives_of(batch)
        loss = self.pair_loss(batch, negatives)
        touched = replace(batch, items=torch.cat([batch.items, negatives]))
        self.learners_["rating"].update(loss, touched, scale=self._l2_scale(len(batch), 1.0))
        return loss.detach()

    def negatives_of(self, batch: Batch) -> Tensor:
        """A negative item for every positive of the batch, int64 [B]."""
        users = batch.users.cpu()
        counts = self._negative_counts[users]
        ends = self._negative_ends[users]
        drawn = (torch.from_numpy(batch.generator.random(len(users))) * counts).long()
        rated = counts > 0
        items = torch.empty_like(users)
        items[rated] = self._negative_items[(ends - counts + drawn)[rated]]
        items[~rated] = self._unrated.of_users(users[~rated])
        return items.to(batch.items.device)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._unrated, self._negative_items, self._negative_counts, self._negative_ends
