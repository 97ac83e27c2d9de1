"""What a table of results is read against: averages that know nothing of a user's taste in items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from debiasrec.methods.base import Method
from debiasrec.models import MatrixFactorization

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split


@dataclass(kw_only=True, eq=False, repr=False)
class UserMean(Method):
    """The mean training target of the user, for every item; of all training rows for a user without one.

    All items of a user tie: its AUC within users is 1/2, and its errors tell what the item adds.
    """

    name: ClassVar[str] = "user_mean"
    summary: ClassVar[str] = "the mean of the user's biased ratings, whatever the item"
    source: ClassVar[str] = "Koren, Bell, Volinsky, Computer 42(8), 2009, eq (3) without the item bias"

    def _solve(self, split: Split, device: str | torch.device) -> MatrixFactorization:
        """The means as user biases."""
        rows = split.train
        means = _means(rows.users, self.encode(rows.ratings), self.n_users_)
        return _biases(means, np.zeros(self.n_items_))


@dataclass(kw_only=True, eq=False, repr=False)
class ItemMean(Method):
    """The mean training target of the item, for every user; of all training rows for an item without one."""

    name: ClassVar[str] = "item_mean"
    summary: ClassVar[str] = "the mean of the item's biased ratings, whoever the user"
    source: ClassVar[str] = "Cremonesi, Koren, Turrin, RecSys 2010, section 3.1 (MovieAvg)"

    def _solve(self, split: Split, device: str | torch.device) -> MatrixFactorization:
        """The means as item biases."""
        rows = split.train
        means = _means(rows.items, self.encode(rows.ratings), self.n_items_)
        return _biases(np.zeros(self.n_users_), means)


@dataclass(kw_only=True, eq=False, repr=False)
class Popularity(Method):
    """The share of all users who gave the item a positive training rating; 0 for an item without one.

    A ranking, not an estimate of the target: its errors mean nothing.
    """

    name: ClassVar[str] = "popularity"
    summary: ClassVar[str] = "how many users liked the item, whoever the user; a ranking alone"
    source: ClassVar[str] = "Cremonesi, Koren, Turrin, RecSys 2010, section 3.1 (TopPop), of positive ratings"

    def _solve(self, split: Split, device: str | torch.device) -> MatrixFactorization:
        """The shares as item biases."""
        liked = split.train.items[split.dataset.positives(split.train.ratings)]
        return _biases(np.zeros(self.n_users_), np.bincount(liked, minlength=self.n_items_) / self.n_users_)


def _means(index: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
    """Mean target of the rows of every index, float64 [count]; the mean of all where there is none."""
    rows, sums = np.bincount(index, minlength=count), np.bincount(index, weights=targets, minlength=count)
    return np.where(rows > 0, sums / np.maximum(rows, 1), targets.mean(dtype=np.float64))


def _biases(user_bias: np.ndarray, item_bias: np.ndarray) -> MatrixFactorization:
    """A factorisation without factors."""
    model = MatrixFactorization(len(user_bias), len(item_bias), 0)
    for table, bias in ((model.user_bias, user_bias), (model.item_bias, item_bias)):
        table.detach().copy_(torch.from_numpy(bias))
    return model
