"""Two-sided fair re-ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from debiasrec.methods.base import Method
from debiasrec.methods.distillation import start_from
from debiasrec.methods.options import teacher, whole
from debiasrec.models import FairLists, Model

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split


@dataclass(kw_only=True, eq=False, repr=False)
class MFTFROM(Method):
    """Re-ranks the lists of a matrix factorisation so that popular and unpopular items share the exposure fairly.

    The providers are groups of items of like popularity, equal in size, and each is due the same exposure an item; see
    `debiasrec.models.fair_places` for the algorithm. A score is -1 - place, and depends on all pairs of the call:
    the candidates of a user are the items that `predict` is asked for, or all unseen ones in `recommend`.

    Args:
        base: the matrix factorisation: a method's name, fitted with its preset and this seed, or a method.
        groups: number of groups.

    Source: Wu et al. 2021, offline scenario with uniform fairness.
    """

    name: ClassVar[str] = "mf_tfrom"
    summary: ClassVar[str] = "fair re-ranking of matrix factorisation over groups of item popularity"
    model_class: ClassVar[type[Model]] = FairLists
    source: ClassVar[str] = "Wu et al., TFROM: A Two-sided Fairness-Aware Recommendation Model, SIGIR 2021"

    base: str | Method = teacher("mf")
    groups: int = whole(5)

    def _solve(self, split: Split, device: str | torch.device) -> FairLists:
        model = FairLists(**self.base_.model_.settings(), n_groups=self.groups, order_seed=self.seed)
        start_from(model, self.base_, self)
        model.item_groups = torch.from_numpy(popularity_groups(split.train.items, self.n_items_, self.groups))
        return model


def popularity_groups(items: np.ndarray, n_items: int, n_groups: int) -> np.ndarray:
    """The group of every item, int64 [n_items]: 0 holds the least popular ones; sizes differ by at most 1."""
    ranks = np.empty(n_items, dtype=np.int64)
    ranks[np.argsort(np.bincount(items, minlength=n_items), kind="stable")] = np.arange(n_items)
    return ranks * n_groups // n_items
