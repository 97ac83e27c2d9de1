"""What clicks that were kept back say of a ranking, when some items are clicked more because they are seen more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.errors import DebiasRecError
from debiasrec.propensity.popularity import relative_popularity

if TYPE_CHECKING:
    from collections.abc import Callable

    from debiasrec.data.dataset import Split

CLICK_CRITERIA = ("snips_dcg", "ips_dcg", "naive_dcg", "oracle_dcg")
LENGTH = 3
LEAST_PROPENSITY = 0.01
PAIRS_AT_ONCE = 1 << 20


class ClickValidator:
    """DCG@3 of the positive biased validation rows among all items that the user has not rated in training.

    With w = 1 / q of a row and c = 1 / log2(rank + 1) up to rank 3, the mean over the users of

        "snips_dcg"   sum w c / sum w        q[i] = sqrt(n[i] / max n), at least 0.01, n[i] positive training ratings
        "ips_dcg"     sum w c / items        the same
        "naive_dcg"   sum w c / sum w        q = 1
        "oracle_dcg"  sum w c / sum w        q the known exposure of simulated data

    Args:
        split: with a biased validation part.
        criterion: one of these.
        device: where the scores are made.

    Users are taken in blocks of about a million pairs, so the memory does not grow with users times items.

    Raises:
        DebiasRecError: "oracle_dcg" without known exposures.

    Source: Yang et al., Unbiased Offline Recommender Evaluation for Missing-Not-At-Random Implicit Feedback, RecSys
        2018, eq (8) and (9); Biif, section 5.1.
    """

    def __init__(self, split: Split, criterion: str, device: str | torch.device) -> None:
        data, rows = split.dataset, split.biased_validation
        assert rows is not None, "no biased validation rows"
        kept = rows.take(data.positives(rows.ratings))
        clicks = np.unique(kept.pairs(data.n_items))
        rated = np.setdiff1d(split.train.pairs(data.n_items), clicks)
        self._users = np.unique(kept.users)
        self._clicks, self._rated = (_Cells.of(pairs, self._users, data.n_items) for pairs in (clicks, rated))
        users = self._users[self._clicks.rows]
        self._weights = 1 / _propensities(split, criterion, users, self._clicks.items)
        totals = np.bincount(self._clicks.rows, self._weights)
        self._totals = np.full_like(totals, data.n_items) if criterion == "ips_dcg" else totals
        self._items = torch.arange(data.n_items, device=device)

    @torch.no_grad()
    def __call__(self, score: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The estimate for a scoring function; NaN when a score is not finite."""
        size = max(1, PAIRS_AT_ONCE // len(self._items))
        blocks = [(start, min(start + size, len(self._users))) for start in range(0, len(self._users), size)]
        values = np.concatenate([self._dcg(score, *block) for block in blocks])
        return float(np.mean(values / self._totals))

    def _dcg(self, score: Callable[[Tensor, Tensor], Tensor], first: int, last: int) -> np.ndarray:
        """The weighted DCG of a block of users, [last - first]; NaN when a score is not finite."""
        shape = last - first, len(self._items)
        users = torch.tensor(self._users[first:last], device=self._items.device)
        scores = score(users.repeat_interleave(shape[1]), self._items.repeat(shape[0])).cpu().reshape(shape)
        if not bool(torch.isfinite(scores).all()):
            return np.full(shape[0], math.nan)
        clicks, cells = self._clicks.within(first, last)
        labels, weights = torch.zeros(shape, dtype=torch.uint8), torch.ones(shape, dtype=torch.float64)
        labels[cells], weights[cells] = 1, torch.from_numpy(self._weights[clicks])
        scores[self._rated.within(first, last)[1]] = -math.inf
        groups = torch.arange(shape[0]).repeat_interleave(shape[1])
        ranking = debias_ext.group_ranking(
            scores.flatten(), labels.flatten(), groups, ks=(LENGTH,), metrics=("dcg",), weights=weights.flatten()
        )
        return ranking[f"dcg@{LENGTH}"].numpy()


@dataclass(frozen=True)
class _Cells:
    """Pairs of some users as cells of a matrix that has a row for each of them.

    Attributes:
        rows: int64 [n], ascending.
        items: int64 [n].
    """

    rows: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, pairs: np.ndarray, users: np.ndarray, n_items: int) -> _Cells:
        """From ascending keys `user * n_items + item`, those of the given users, which ascend too."""
        owners, items = np.divmod(pairs, n_items)
        own = np.isin(owners, users)
        return cls(np.searchsorted(users, owners[own]), items[own])

    def within(self, first: int, last: int) -> tuple[slice, tuple[Tensor, Tensor]]:
        """Where the cells of a block of rows stand, and their places in it."""
        part = slice(*np.searchsorted(self.rows, (first, last)))
        return part, (torch.from_numpy(self.rows[part] - first), torch.from_numpy(self.items[part]))


def _propensities(split: Split, criterion: str, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    data, train = split.dataset, split.train
    if criterion == "naive_dcg":
        return np.ones(len(items))
    if criterion == "oracle_dcg":
        if data.truth is None:
            raise DebiasRecError(f'criterion "oracle_dcg": the exposures of {data.name} are not known')
        return data.truth.exposure[users, items]
    popularity = relative_popularity(train.items[data.positives(train.ratings)], data.n_items)
    return np.maximum(popularity, LEAST_PROPENSITY)[items]
