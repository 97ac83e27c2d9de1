"""Tests against the known truth of simulated data: every user against the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data.dataset import Dataset, Interactions
from .metrics import user_metrics
from .parts import TestPart, make_part

if TYPE_CHECKING:
    from ..methods import Method

RELEVANT = 0.5  # a pair is relevant when a positive rating is at least as likely as a negative one


@dataclass(frozen=True)
class TruthTest:
    """All user-item pairs, labelled by the known P(rating >= threshold) >= 0.5: no sampling noise in the labels."""

    dataset: Dataset
    part: TestPart

    @classmethod
    def of(cls, dataset: Dataset) -> TruthTest:
        """The full-catalogue test of a simulated data set."""
        users, items = np.divmod(np.arange(dataset.n_users * dataset.n_items, dtype=np.int64), dataset.n_items)
        relevance, expected = dataset.truth.relevance.ravel(), dataset.truth.expected_rating.ravel()
        rows = Interactions(users, items, np.asarray(expected, dtype=np.float32))
        return cls(dataset, make_part("truth", rows, relevance >= RELEVANT))

    def metrics(self, scores: np.ndarray, model: Method, ks: tuple[int, ...], require: str) -> dict[str, float]:
        """UAUC, NDCG@k over the catalogue, and RMSE of the scores against their expected target.

        Args:
            scores: float [U * I], user-major.
            model: its coding says what a score estimates.
            ks: list lengths.
            require: whom the @k metrics average over, as on the tests.

        Returns:
            uauc, ndcg@k, rmse; rmse is NaN where the coding is neither two-valued nor stars.
        """
        ranking = user_metrics(scores, self.part, ks, require)
        values = {metric: ranking[metric] for metric in truth_names(ks)[:-1]}
        difference = scores.astype(np.float64) - self._expected_targets(model)
        return values | {"rmse": float(np.sqrt(np.mean(difference**2)))}

    def _expected_targets(self, model: Method) -> np.ndarray:
        """E[encode(rating)] per pair: P(positive) between the two codes, or the expected rating for stars."""
        low, high = self.dataset.rating_scale
        levels = np.arange(low, high + 1, dtype=np.float32)
        codes = np.unique(model.encode(levels))
        if len(codes) == 2:
            return codes[0] + (codes[1] - codes[0]) * self.dataset.truth.relevance.ravel()
        if np.array_equal(codes, levels):
            return self.dataset.truth.expected_rating.ravel()
        return np.full(len(self.part.rows), np.nan)


def truth_names(ks: tuple[int, ...]) -> list[str]:
    """The metrics of the truth columns."""
    return ["uauc", *(f"ndcg@{k}" for k in ks), "rmse"]
