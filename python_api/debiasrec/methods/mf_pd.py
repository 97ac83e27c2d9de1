"""Popularity deconfounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.options import number
from debiasrec.methods.pairwise import Pairwise
from debiasrec.methods.trained import Learner
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class MFPD(Pairwise):
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

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The popularity of every item, and the negative items of every user."""
        counts = np.bincount(split.train.items, minlength=self.n_items_)
        popularity = (counts - counts.min()) / max(np.ptp(counts), 1)
        self._popularity = torch.from_numpy(np.maximum(popularity, 0.5 / self.n_items_).astype(np.float32))
        return super().prepare(split, rows)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner of the pairwise loss."""
        self._popularity = self._popularity.to(device)
        return super().learners(device)

    def pair_loss(self, batch: Batch, negatives: Tensor) -> Tensor:
        """The loss of pairs, scores times popularity."""
        return debias_ext.pair_loss(
            self.model_.score(batch.users, batch.items),
            self.model_.score(batch.users, negatives),
            positive_popularity=self._popularity[batch.items],
            negative_popularity=self._popularity[negatives],
            gamma=self.gamma,
            kind="pda",
            reduction=self.reduction,
        )

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._popularity
