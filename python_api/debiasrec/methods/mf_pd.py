"""Popularity deconfounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.options import number
from debiasrec.methods.trained import Learner, Trained
from debiasrec.models import UnratedPairs
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class MFPD(Trained):
    """Popularity deconfounding: pairs of a positive item i and a negative item j of one user, ranked by E(s) m^gamma.

        L = mean of softplus(-(E(s_i) m_i^gamma - E(s_j) m_j^gamma)),    E(s) = s + 1 for s > 0 and e^s below,

    m the popularity of an item: its number of training ratings, min-max normalised, and raised to 1 / (2 I) so that the
    least popular item learns too. What popularity does not explain is left to E(s), which ranks as s does: s predicts.
    The negative is a negative rating of the user, drawn anew in every epoch; a user without one gets items at random
    that the user has not rated.

    There is no time in these data, so popularity is global. s is the score of every method here, with biases.

    Args:
        gamma: power of the popularity; 0 is BPR on E(s).

    Source: Zhang et al. 2021, eq (5)-(7), prediction by PD.
    """

    name: ClassVar[str] = "mf_pd"
    summary: ClassVar[str] = "popularity deconfounding of pairwise ranking"
    source: ClassVar[str] = "Zhang et al., Causal Intervention for Leveraging Popularity Bias, SIGIR 2021"

    gamma: float = number(0.1, least=0)

    def training_rows(self, split: Split) -> Interactions:
        """The positive ratings of users that have a negative item, rated or not."""
        rows, n_users = split.train, split.dataset.n_users
        positive = split.dataset.positives(rows.ratings)
        negatives = np.bincount(rows.users[~positive], minlength=n_users)
        unrated = np.bincount(rows.users, minlength=n_users) < split.dataset.n_items
        return rows.take(positive & ((negatives > 0) | unrated)[rows.users])

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The popularity of every item, and the negative items of every user."""
        train = split.train
        counts = np.bincount(train.items, minlength=self.n_items_)
        popularity = (counts - counts.min()) / max(np.ptp(counts), 1)
        self._popularity = torch.from_numpy(np.maximum(popularity, 0.5 / self.n_items_).astype(np.float32))
        negative = train.take(~split.dataset.positives(train.ratings))
        order = np.argsort(negative.users, kind="stable")
        self._negative_items = torch.tensor(negative.items[order])
        self._negative_counts = torch.from_numpy(np.bincount(negative.users, minlength=self.n_users_))
        self._negative_ends = self._negative_counts.cumsum(0)
        self._unrated = UnratedPairs(train.users, train.items, self.n_users_, self.n_items_, self.seed)
        return {}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner of the pairwise loss."""
        self._popularity = self._popularity.to(device)
        return {"rating": self._loss_learner(self.model_, self.lr, self.l2)}

    def one_pass(self) -> bool:
        """The loss is one of pairs of items."""
        return False

    def begin_epoch(self, epoch: int) -> None:
        """Random items depend on the seed and the epoch alone."""
        self._unrated.begin_epoch(epoch)

    def step(self, batch: Batch) -> Tensor:
        """One step on the positives of a batch and as many negatives."""
        negatives = self._negatives(batch)
        loss = self._pair_loss(batch, negatives)
        touched = replace(batch, items=torch.cat([batch.items, negatives]))
        self.learners_["rating"].update(loss, touched, scale=self._l2_scale(len(batch), 1.0))
        return loss.detach()

    def _negatives(self, batch: Batch) -> Tensor:
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
        del self._unrated, self._popularity, self._negative_items, self._negative_counts, self._negative_ends

    def _pair_loss(self, batch: Batch, negatives: Tensor) -> Tensor:
        return debias_ext.pair_loss(
            self.model_.score(batch.users, batch.items),
            self.model_.score(batch.users, negatives),
            positive_popularity=self._popularity[batch.items],
            negative_popularity=self._popularity[negatives],
            gamma=self.gamma,
            kind="pda",
            reduction=self.reduction,
        )
