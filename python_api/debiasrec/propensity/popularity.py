"""Propensity from item popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DebiasRecError
from .base import PropensityEstimator

if TYPE_CHECKING:
    from ..data.dataset import Split


def relative_popularity(items: np.ndarray, n_items: int, power: float = 0.5) -> np.ndarray:
    """(n[i] / max n)^power, float64 [I], n[i] = how often item i occurs among `items`; zeros where there is none."""
    counts = np.bincount(items, minlength=n_items)
    return (counts / max(counts.max(), 1)) ** power


@dataclass(kw_only=True, eq=False)
class PopularityPropensity(PropensityEstimator):
    """q[i] = (n[i] / max n)^power, n[i] = number of training ratings of item i.

    The scale is relative: the most popular item has propensity 1. Items without a training rating get ``clip_min``.

    Args:
        power: > 0.
        clip_min: estimates below are raised to it.

    Source: Saito et al., "Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback", WSDM 2020,
        section 5.1 (power 0.5).
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.power < np.inf:
            raise DebiasRecError(f"power must be > 0 and finite, got {self.power!r}")

    def _fit(self, split: Split) -> None:
        self._propensities = relative_popularity(split.train.items, split.dataset.n_items, self.power)

    def _estimate(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None) -> np.ndarray:
        return self._propensities[items]

    def _summary(self) -> str:
        return f"item popularity to the power {self.power:g}"
