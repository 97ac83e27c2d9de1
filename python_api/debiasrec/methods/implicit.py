"""What the methods of implicit feedback share: clicks, negatives, a model without biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.data.clicks import every_pair
from debiasrec.methods.options import choice, number, whole
from debiasrec.methods.trained import Trained
from debiasrec.models import InnerProduct, Model
from debiasrec.propensity.popularity import relative_popularity
from debiasrec.training.loader import BlockLoader, FlatLoader

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun

BIIF = "Low-variance estimator for missing-not-at-random implicit feedback (Biif), TMLR submission"


def positives(split: Split) -> Interactions:
    """The training rows with a positive rating."""
    return split.train.take(split.dataset.positives(split.train.ratings))


@dataclass(kw_only=True, eq=False, repr=False)
class Clicks(Trained):
    """A method of clicks R: 1 where the rating is positive.

    The score is P[u].Q[i] without biases. What an item's popularity says of exposure is m[i] = sqrt(n[i] / max n), n[i]
    its number of positive training ratings.

    Attributes (after fit):
        popularity_: m, float64 [I].
    """

    model_class: ClassVar[type[Model]] = InnerProduct

    target: str = choice("binary", "binary")
    l2: float = number(0.1, least=0)
    batching: str = choice("flat", "flat")

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The popularity of the items."""
        self.popularity_ = relative_popularity(positives(split).items, self.n_items_)
        return super().prepare(split, rows)

    def _base_model(self, device: str | torch.device) -> InnerProduct:
        return InnerProduct(self.n_users_, self.n_items_, self.factors, seed=(self.seed, 0, 0), device=device)


@dataclass(kw_only=True, eq=False, repr=False)
class Implicit(Clicks):
    """A method of clicks and negative pairs, R = 0; sigmoid(s) is the relevance.

    Args:
        negatives: "rated" (the other rated pairs), "all" (every other pair) or "sampled" (drawn anew in every epoch,
            uniformly from the pairs without a positive rating).
        per_positive: how many are "sampled" for a positive.
    """

    negatives: str = choice("rated", "rated", "all", "sampled")
    per_positive: int = whole(5)

    def training_rows(self, split: Split) -> Interactions:
        """The positive rows, and the negative ones unless they are sampled."""
        if self.negatives == "all":
            return every_pair(split)
        return split.train if self.negatives == "rated" else positives(split)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """What depends on items alone, and the sampler of negatives."""
        columns = super().prepare(split, rows)
        if self.negatives == "sampled":
            pairs = torch.tensor(rows.users), torch.tensor(rows.items)
            self._sampler = debias_ext.PairSampler(*pairs, n_users=self.n_users_, n_items=self.n_items_, seed=self.seed)
        return columns | {name: values[rows.items] for name, values in self.item_columns().items()}

    def item_columns(self) -> dict[str, np.ndarray]:
        """Columns of the training rows that depend on the item alone, [I] each."""
        return {}

    def loader_of(self, loader: FlatLoader | BlockLoader, epoch: int) -> FlatLoader | BlockLoader:
        """The given one, or one with negatives of this epoch where they are sampled."""
        if self.negatives != "sampled":
            return loader
        return FlatLoader(self._with_negatives(loader.columns, epoch), batch_size=self.batch_size, seed=self.seed)

    def _with_negatives(self, columns: dict[str, Tensor], epoch: int) -> dict[str, Tensor]:
        count = self.per_positive * self.n_rows_
        self._sampler.load_state_dict({"seed": self.seed, "position": (epoch - 1) * count})
        users, items = self._sampler.unobserved(count)
        drawn = {"users": users, "items": items, "targets": torch.zeros(count)}
        drawn |= {name: torch.from_numpy(values)[items] for name, values in self.item_columns().items()}
        return {name: torch.cat([column, drawn[name].to(column)]) for name, column in columns.items()}

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        if self.negatives == "sampled":
            del self._sampler
