"""What clicks that were kept back say of a ranking, when some items are clicked more because they are seen more."""

from __future__ import annotations

import math
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

    Raises:
        DebiasRecError: "oracle_dcg" without known exposures.

    Source: Yang et al., Unbiased Offline Recommender Evaluation for Missing-Not-At-Random Implicit Feedback, RecSys
        2018, eq (8) and (9); Biif, section 5.1.
    """

    def __init__(self, split: Split, criterion: str, device: str | torch.device) -> None:
        data, train, rows = split.dataset, split.train, split.biased_validation
        assert rows is not None, "no biased validation rows"
        kept = rows.take(data.positives(rows.ratings))
        users, user_of = np.unique(kept.users, return_inverse=True)
        cells = np.ones((len(users), data.n_items), dtype=bool)
        known = np.isin(train.users, users)
        cells[np.searchsorted(users, train.users[known]), train.items[known]] = False
        cells[user_of, kept.items] = True
        labels, weights = np.zeros(cells.shape, dtype=np.uint8), np.ones(cells.shape)
        labels[user_of, kept.items] = 1
        weights[user_of, kept.items] = 1 / _propensities(split, criterion, kept.users, kept.items)
        groups, items = np.nonzero(cells)
        self.users, self.items = (torch.tensor(side, device=device) for side in (users[groups], items))
        self._groups = torch.from_numpy(groups)
        self._labels, self._weights = torch.from_numpy(labels[cells]), torch.from_numpy(weights[cells])
        totals = (weights * labels).sum(axis=1)
        self._totals = np.full_like(totals, data.n_items) if criterion == "ips_dcg" else totals

    @torch.no_grad()
    def __call__(self, score: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The estimate for a scoring function; NaN when a score is not finite."""
        scores = score(self.users, self.items)
        return self.value(scores.cpu()) if bool(torch.isfinite(scores).all()) else math.nan

    def value(self, scores: Tensor) -> float:
        """The estimate for the scores of `users` and `items`."""
        ranking = debias_ext.group_ranking(
            scores, self._labels, self._groups, ks=(LENGTH,), metrics=("dcg",), weights=self._weights
        )
        return float(np.mean(ranking[f"dcg@{LENGTH}"].numpy() / self._totals))


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
