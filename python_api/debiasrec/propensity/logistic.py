"""Propensity from user and item features, by logistic regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ..errors import DebiasRecError, DebiasRecWarning
from .base import PropensityEstimator

if TYPE_CHECKING:
    from ..data.dataset import Split


@dataclass(kw_only=True, eq=False)
class LogisticPropensity(PropensityEstimator):
    """q = sigmoid(w.x + c), fitted to all pairs: the sum over B of log q + the sum over the rest of log(1 - q).

    Pairs with equal features have equal propensities, so the fit runs over distinct (user profile, item profile) pairs
    weighted by how many rated and unrated pairs each stands for: the same optimum in a fraction of the memory.

    Args:
        features: "crosses" takes the products of every user feature with every item feature, "additive" the user
            features beside the item features.
        l2: coefficient of half the squared norm of w beside the summed log loss, > 0; c is free.
        max_iter: limit of L-BFGS iterations; a fit that meets it warns.
        clip_min: estimates below are raised to it.

    Source: Schnabel et al., "Recommendations as Treatments", ICML 2016, section 5, logistic
        regression.
    """

    features: str = "crosses"
    l2: float = 1.0
    max_iter: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features not in ("crosses", "additive"):
            raise DebiasRecError(f"features must be 'crosses' or 'additive', got {self.features!r}")
        if not 0 < self.l2 < np.inf:
            raise DebiasRecError(f"l2 must be > 0 and finite, got {self.l2!r}")
        if self.max_iter < 1:
            raise DebiasRecError(f"max_iter must be >= 1, got {self.max_iter!r}")

    def _fit(self, split: Split) -> None:
        user_features, item_features = split.dataset.user_features, split.dataset.item_features
        if user_features is None or item_features is None:
            missing = "user features" if user_features is None else "item features"
            raise DebiasRecError(
                f"logistic propensities need user and item features, and {split.dataset.name} has no {missing}; use "
                "'naive_bayes', 'popularity' or 'given'"
            )
        user_rows, self._user_profile, user_counts = _profiles(user_features)
        item_rows, self._item_profile, item_counts = _profiles(item_features)
        n_cells = len(user_rows) * len(item_rows)
        cell = self._user_profile[split.train.users] * len(item_rows) + self._item_profile[split.train.items]
        rated = np.bincount(cell, minlength=n_cells)
        unrated = np.outer(user_counts, item_counts).ravel() - rated
        design = self._design(user_rows, item_rows)
        observed = np.repeat([1, 0], n_cells)
        weights = np.concatenate([rated, unrated]).astype(np.float64)
        model = LogisticRegression(C=1.0 / self.l2, solver="lbfgs", tol=1e-6, max_iter=self.max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(sparse.vstack([design, design], format="csr"), observed, sample_weight=weights)
        self.n_iter = int(model.n_iter_[0])
        if self.n_iter >= self.max_iter:
            warnings.warn(
                f"the logistic propensities had not converged after {self.max_iter} iterations; raise max_iter or l2, "
                "or scale the features",
                DebiasRecWarning,
                stacklevel=3,
            )
        self._table = model.predict_proba(design)[:, 1].reshape(len(user_rows), len(item_rows))
        self._n_columns = design.shape[1]

    def _design(self, user_rows: np.ndarray, item_rows: np.ndarray) -> sparse.csr_matrix:
        users, items = sparse.csr_matrix(user_rows), sparse.csr_matrix(item_rows)
        if self.features == "crosses":
            return sparse.kron(users, items, format="csr")
        by_user = sparse.kron(users, np.ones((items.shape[0], 1)))
        by_item = sparse.kron(np.ones((users.shape[0], 1)), items)
        return sparse.hstack([by_user, by_item], format="csr")

    def _estimate(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None) -> np.ndarray:
        return self._table[self._user_profile[users], self._item_profile[items]]

    def _summary(self) -> str:
        return f"logistic regression on {self._n_columns} {self.features} features (l2 {self.l2:g})"


def _profiles(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct feature rows in float64, the row of each user or item, and how many share it."""
    rows, profile, counts = np.unique(features, axis=0, return_inverse=True, return_counts=True)
    return rows.astype(np.float64), profile.ravel(), counts
