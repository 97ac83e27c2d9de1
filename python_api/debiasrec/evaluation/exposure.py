"""How well exposures are estimated, where the true ones are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import Split
from ..errors import DebiasRecError

PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ExposureCorrelation:
    """Pearson correlations over the items of a user.

    Attributes:
        mean: over the users that have one; NaN when none has.
        users: how many have one.
        skipped: users whose true or estimated exposures are all equal.
    """

    mean: float
    users: int
    skipped: int


def exposure_correlation(model: Any, split: Split) -> ExposureCorrelation:
    """The correlation of estimated and true exposures.

    Args:
        model: a fitted method with ``predict_exposure(users, items)``.
        split: of a data set with ``truth``.

    Raises:
        DebiasRecError: the data set has no known exposures, or the method no estimates.

    Source: Biif, eq (20).
    """
    data = split.dataset
    if data.truth is None:
        raise DebiasRecError(f"{data.name}: the true exposures are not known; use simulated or semi_synthetic data")
    if not hasattr(model, "predict_exposure"):
        raise DebiasRecError(f"{model.name}: a method without estimates of the exposure")
    items, rows = np.arange(data.n_items), max(1, PAIRS_AT_ONCE // data.n_items)
    values = []
    for start in range(0, data.n_users, rows):
        users = np.arange(start, min(start + rows, data.n_users))
        estimated = model.predict_exposure(np.repeat(users, len(items)), np.tile(items, len(users)))
        values.append(row_correlations(estimated.reshape(len(users), -1), data.truth.exposure[users]))
    known = np.concatenate(values)
    known = known[np.isfinite(known)]
    mean = float(known.mean()) if len(known) else float("nan")
    return ExposureCorrelation(mean, len(known), data.n_users - len(known))


def row_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every row of two matrices, float64 [n]; NaN for a row that is constant in either.

    Centred sums in float64: raw moments of small exposures would lose all digits.
    """
    a, b = (matrix - matrix.mean(axis=1, keepdims=True, dtype=np.float64) for matrix in (first, second))
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(constant, np.nan, (a * b).sum(axis=1) / np.where(constant, 1.0, norms))
