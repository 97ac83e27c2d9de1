"""Propensity by rating value, from Bayes' rule."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data.validation import some
from ..errors import DebiasRecError, DebiasRecWarning
from .base import PropensityEstimator

if TYPE_CHECKING:
    from ..data.dataset import Dataset, Split


@dataclass(kw_only=True, eq=False)
class NaiveBayesPropensity(PropensityEstimator):
    """P(o=1 | r) = P(r | o=1) P(o=1) / P(r), a propensity per rating value.

    P(r | o=1) and P(o=1) = |B| / (U I) come from the biased training ratings, P(r) from the uniform training ratings
    with additive smoothing, (n_r + smoothing) / (n + smoothing * number of values). Without smoothing and clipping the
    sum over B of 1/q is U I times the sum of P(r) over the values that occur in B.

    Args:
        levels: "stars" takes every rating value of the data set for itself, "binary" takes negatives and positives.
        smoothing: pseudo-count of each value in P(r), >= 0.
        clip_min: estimates below are raised to it.

    Source: Schnabel et al., "Recommendations as Treatments", ICML 2016, section 5, naive Bayes.
    """

    levels: str = "stars"
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels not in ("stars", "binary"):
            raise DebiasRecError(f"levels must be 'stars' or 'binary', got {self.levels!r}")
        if not 0 <= self.smoothing < np.inf:
            raise DebiasRecError(f"smoothing must be >= 0 and finite, got {self.smoothing!r}")

    def _fit(self, split: Split) -> None:
        if split.uniform_train is None:
            raise DebiasRecError(
                f"naive Bayes propensities need uniform ratings, and split '{split.name}' of {split.dataset.name} has "
                "no uniform training part; use 'popularity', 'logistic' or 'given'"
            )
        dataset = split.dataset
        self._dataset = dataset
        self._values = self._level_values(dataset)
        biased = self._counts(split.train.ratings)
        uniform = self._counts(split.uniform_train.ratings)
        if len(self._values) > uniform.sum():
            warnings.warn(
                f"naive Bayes estimates P(r) of {len(self._values):,} rating values from {uniform.sum():,} uniform "
                "ratings; levels='binary' (propensity_levels of a method) needs fewer",
                DebiasRecWarning,
                stacklevel=3,
            )
        marginal = (uniform + self.smoothing) / (uniform.sum() + self.smoothing * len(self._values))
        joint = biased / (dataset.n_users * dataset.n_items)
        # Without smoothing, a value absent from the uniform ratings has P(r) = 0: an infinite estimate, clipped to 1.
        with np.errstate(divide="ignore", invalid="ignore"):
            self._propensities = np.where(joint > 0, joint / marginal, 0.0)

    def _level_values(self, dataset: Dataset) -> np.ndarray:
        if self.levels == "binary":
            return np.array([0.0, 1.0])
        # The values that exist, not how often: nothing of the tests enters the estimate.
        parts = [dataset.biased] if dataset.uniform is None else [dataset.biased, dataset.uniform]
        return np.unique(np.concatenate([part.ratings for part in parts])).astype(np.float64)

    def _coded(self, ratings: np.ndarray) -> np.ndarray:
        ratings = np.asarray(ratings, dtype=np.float32)
        return self._dataset.positives(ratings) if self.levels == "binary" else ratings

    def _counts(self, ratings: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(self._values, self._coded(ratings)), minlength=len(self._values))

    def _estimate(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None) -> np.ndarray:
        if ratings is None:
            raise DebiasRecError("naive Bayes propensities depend on the rating: ratings must be given, got None")
        coded = self._coded(ratings)
        level = np.minimum(np.searchsorted(self._values, coded), len(self._values) - 1)
        wrong = coded[self._values[level] != coded]
        if len(wrong):
            raise DebiasRecError(
                f"{len(wrong):,} ratings are no value of the data set ({some(self._values)}): {some(np.unique(wrong))}"
            )
        return self._propensities[level]

    def _summary(self) -> str:
        kind = "the two classes" if self.levels == "binary" else f"{len(self._values)} rating values"
        return f"naive Bayes over {kind} (smoothing {self.smoothing:g})"
