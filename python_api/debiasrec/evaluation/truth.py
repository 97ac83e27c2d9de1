"""Tests against the known truth of simulated data: every user against the whole catalogue, in expectation.

A pair is positive with its known relevance p, so no label is drawn: the expectation is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

import debias_ext

from ..data import Dataset, Interactions, Truth

if TYPE_CHECKING:
    from ..methods import Method


@dataclass(frozen=True)
class TruthTest:
    """All user-item pairs, user by user."""

    truth: Truth
    rating_scale: tuple[float, float]
    rows: Interactions

    @classmethod
    def of(cls, data: Dataset) -> TruthTest | None:
        """The full-catalogue test of a simulated data set; None where the truth is not known."""
        if data.truth is None:
            return None
        users, items = np.divmod(np.arange(data.n_users * data.n_items, dtype=np.int64), data.n_items)
        return cls(data.truth, data.rating_scale, Interactions(users, items, data.truth.expected_rating.ravel()))

    def metrics(self, scores: np.ndarray, model: Method, ks: tuple[int, ...]) -> dict[str, float]:
        """UAUC, NDCG@k and RMSE, averaged over all users.

        Args:
            scores: float [U * I], one per row.
            model: its coding says what a score estimates.
            ks: list lengths.

        Returns:
            uauc: chance that of two items of a user, one positive and one negative, the positive scores higher.
            ndcg@k: with the relevance as gain.
            rmse: to the expected target; NaN where the coding is neither two-valued nor stars.
        """
        values = {"uauc": self._expected_auc(scores)} | self._expected_ndcg(scores, ks)
        difference = scores.astype(np.float64) - self._expected_targets(model)
        return values | {"rmse": float(np.sqrt(np.mean(difference**2)))}

    def _expected_auc(self, scores: np.ndarray) -> float:
        """Mean over users of sum_ij p_i (1 - p_j) [s_i > s_j] / sum_ij p_i (1 - p_j) over i != j.

        Every pair enters as a positive of weight p and as a negative of weight 1 - p. So it also meets itself, as a
        tie of weight p (1 - p): this is taken out again.
        """
        relevance = self.truth.relevance
        weights = np.concatenate([relevance.ravel(), 1 - relevance.ravel()])
        twice = torch.from_numpy(scores).repeat(2)
        labels = torch.arange(2, dtype=torch.uint8).flip(0).repeat_interleave(len(scores))
        users = torch.tensor(self.rows.users).repeat(2)
        ranking = debias_ext.group_ranking(
            twice, labels, users, metrics=("auc",), weights=torch.from_numpy(weights)
        )  # fmt: skip
        pairs = relevance.sum(axis=1) * (1 - relevance).sum(axis=1)
        itself = (relevance * (1 - relevance)).sum(axis=1)
        return float(np.mean((ranking["auc"].numpy() * pairs - itself / 2) / (pairs - itself)))

    def _expected_ndcg(self, scores: np.ndarray, ks: tuple[int, ...]) -> dict[str, float]:
        """NDCG@k with gain p: all rows positive, weighted by p."""
        ranking = debias_ext.group_ranking(
            torch.from_numpy(scores),
            torch.ones(len(scores), dtype=torch.uint8),
            torch.tensor(self.rows.users),
            ks=ks,
            metrics=("ndcg",),
            weights=torch.tensor(self.truth.relevance.ravel()),
        )
        means = ranking.mean()
        return {f"ndcg@{k}": means[f"ndcg@{k}"] for k in ks}

    def _expected_targets(self, model: Method) -> np.ndarray:
        """E[encode(rating)] per pair: between the two codes by the relevance, or the expected rating for stars."""
        low, high = self.rating_scale
        levels = np.arange(low, high + 1, dtype=np.float32)
        codes = np.unique(model.encode(levels))
        if len(codes) == 2:
            return codes[0] + (codes[1] - codes[0]) * self.truth.relevance.ravel()
        if np.array_equal(codes, levels):
            return self.truth.expected_rating.ravel()
        return np.full(len(self.rows), np.nan)


def truth_names(ks: tuple[int, ...]) -> list[str]:
    """The metrics of the truth columns."""
    return ["uauc", *(f"ndcg@{k}" for k in ks), "rmse"]
