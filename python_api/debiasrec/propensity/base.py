"""What every propensity estimator shares: the clipping, its report, and the checks of what is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..data.dataset import check_split
from ..data.validation import as_indices, some
from ..errors import DebiasRecError

if TYPE_CHECKING:
    from ..data.dataset import Split

Estimator = TypeVar("Estimator", bound="PropensityEstimator")


@dataclass(kw_only=True, eq=False)
class PropensityEstimator(ABC):
    """Probability that a pair is in the training part of the biased ratings.

    Args:
        clip_min: estimates below are raised to it, those above 1 lowered to 1; in (0, 1].

    Attributes:
        n_clipped: (after fit) how many training ratings have a clipped propensity.
    """

    clip_min: float = 1e-3
    n_clipped: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.clip_min, Real) or not 0 < self.clip_min <= 1:
            raise DebiasRecError(f"clip_min must lie in (0, 1], got {self.clip_min!r}")

    def fit(self: Estimator, split: Split) -> Estimator:
        """Estimate from the training parts of a split.

        Args:
            split: ``split.train`` and, for naive Bayes, ``split.uniform_train`` are read.

        Returns:
            The estimator itself.

        Raises:
            DebiasRecError: not a split, or it lacks what the estimator needs.
        """
        check_split(split)
        dataset, train = split.dataset, split.train
        self._fit(split)
        raw = self._estimate(train.users, train.items, train.ratings)
        self._n_users, self._n_items = dataset.n_users, dataset.n_items
        clipped = self._clip(raw)
        self.n_clipped = int((clipped != raw).sum())
        self._range = float(clipped.min()), float(clipped.max())
        self._n_train = len(train)
        return self

    def predict(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None = None) -> np.ndarray:
        """Propensities of pairs, clipped.

        Args:
            users: integer [n], inside ids.
            items: integer [n], inside ids.
            ratings: [n], in stars; naive Bayes needs them, the others ignore them.

        Returns:
            float64 [n], in [clip_min, 1].

        Raises:
            DebiasRecError: before fit, vectors of unequal length, ids out of range, or ratings needed and absent.
        """
        self._check_fitted()
        users, items = as_indices(users, "users"), as_indices(items, "items")
        if users.ndim != 1 or users.shape != items.shape or (ratings is not None and np.shape(ratings) != users.shape):
            shapes = [users.shape, items.shape] + ([] if ratings is None else [np.shape(ratings)])
            raise DebiasRecError(f"users, items and ratings must be vectors of one length, got shapes {shapes}")
        for name, index, n in (("users", users, self._n_users), ("items", items, self._n_items)):
            wrong = index[(index < 0) | (index >= n)]
            if len(wrong):
                raise DebiasRecError(f"{name} must lie in 0..{n - 1}, {len(wrong):,} do not: {some(wrong)}")
        return self._clip(self._estimate(users, items, ratings))

    def describe(self) -> str:
        """One sentence: the model, the range of its propensities on the training ratings, how many were clipped."""
        self._check_fitted()
        low, high = self._range
        return (
            f"{self._summary()}: {low:.4g} to {high:.4g} on {self._n_train:,} training ratings, "
            f"{self.n_clipped:,} clipped to [{self.clip_min:g}, 1]"
        )

    def _clip(self, raw: np.ndarray) -> np.ndarray:
        return np.clip(raw, self.clip_min, 1.0)

    def _check_fitted(self) -> None:
        if not hasattr(self, "n_clipped"):
            raise DebiasRecError(f"{type(self).__name__} is not fitted: call fit(split) first")

    @abstractmethod
    def _fit(self, split: Split) -> None:
        """Learn from the training parts."""

    @abstractmethod
    def _estimate(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None) -> np.ndarray:
        """Float64 [n], >= 0 and not clipped."""

    @abstractmethod
    def _summary(self) -> str:
        """The model and its settings in a few words."""
