"""Pairwise ranking of clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.implicit import Clicks, positives
from debiasrec.methods.options import choice, flag, number
from debiasrec.methods.pairwise import Pairwise
from debiasrec.methods.trained import Learner
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class BPR(Clicks, Pairwise):
    """A clicked item i of a user above an item j without a click: L = mean of softplus(-(s_i - s_j)).

    Args:
        negatives: "all" (j is any item that the user has not clicked) or "rated" (one that the user rated negative; any
            unrated one for a user without such a rating).

    Source: Rendle et al. 2009, section 4.1.
    """

    name: ClassVar[str] = "bpr"
    summary: ClassVar[str] = "Bayesian personalised ranking of clicks"
    source: ClassVar[str] = "Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009"

    negatives: str = choice("all", "all", "rated")

    def rated_negatives(self, split: Split) -> Interactions:
        """The negative ratings, or none."""
        rows = super().rated_negatives(split)
        return rows if self.negatives == "rated" else rows.take(slice(0))

    def pair_loss(self, batch: Batch, negatives: Tensor) -> Tensor:
        """The loss of the pairs of a batch."""
        return debias_ext.pair_loss(
            self.model_.score(batch.users, batch.items),
            self.model_.score(batch.users, negatives),
            weights=self.pair_weights(batch, negatives),
            reduction=self.reduction,
        )

    def pair_weights(self, batch: Batch, negatives: Tensor) -> Tensor | None:
        """The weights of the pairs, [B]; None for 1."""
        return None


@dataclass(kw_only=True, eq=False, repr=False)
class UnbiasedBPR(BPR):
    """Pairs that estimate the ranking loss of relevance: j is any item, and a pair counts (R_i / x_i) (1 - R_j / x_j).

    x = max(m, c) with the popularity m of the item.

    Args:
        clip_min: c.
        nonnegative: leave out the pairs with a negative weight, those of a clicked j with x_j < 1.

    Source: Saito 2020, the unbiased loss and its non-negative estimator (beta = 0).
    """

    name: ClassVar[str] = "unbiased_bpr"
    summary: ClassVar[str] = "Bayesian personalised ranking with inverse exposure weights of both items"
    source: ClassVar[str] = "Saito, Unbiased Pairwise Learning from Biased Implicit Feedback, ICTIR 2020"

    negatives: str = choice("all", "all")
    clip_min: float = number(0.01, above=0, most=1)
    nonnegative: bool = flag(True)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The clicked pairs and the exposures."""
        columns = super().prepare(split, rows)
        self._clicked = torch.from_numpy(np.sort(positives(split).pairs(self.n_items_)))
        self._exposures = torch.from_numpy(np.maximum(self.popularity_, self.clip_min).astype(np.float32))
        return columns

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner of the pairwise loss."""
        self._clicked, self._exposures = self._clicked.to(device), self._exposures.to(device)
        return super().learners(device)

    def negatives_of(self, batch: Batch) -> Tensor:
        """An item of all for every positive of the batch, int64 [B]."""
        return torch.from_numpy(batch.generator.integers(self.n_items_, size=len(batch))).to(batch.items.device)

    def pair_weights(self, batch: Batch, negatives: Tensor) -> Tensor:
        """(1 / x_i) (1 - R_j / x_j)."""
        clicks = torch.isin(batch.users * self.n_items_ + negatives, self._clicked).float()
        weights = (1.0 - clicks / self._exposures[negatives]) / self._exposures[batch.items]
        return weights.clamp(min=0.0) if self.nonnegative else weights

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._clicked, self._exposures
