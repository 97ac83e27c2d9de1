"""Propensities that came from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.files import read_matrix
from ..data.validation import check_matrix
from ..errors import DebiasRecError
from .base import PropensityEstimator

if TYPE_CHECKING:
    from ..data.dataset import Dataset, Split


@dataclass(kw_only=True, eq=False)
class GivenPropensity(PropensityEstimator):
    """A matrix of propensities, a row per user and a column per item in inside order.

    Args:
        matrix: [U, I] in (0, 1]; or a text file of U lines of I numbers; or None for the data set's own
            (``Dataset.given_propensities``: the published file of Coat, the true exposure of simulated data).
        clip_min: entries below are raised to it.
    """

    matrix: np.ndarray | str | PathLike | None = None

    def _fit(self, split: Split) -> None:
        matrix = self._resolve(split.dataset)
        check_matrix(matrix, "given_propensities", split.dataset.n_users, split.dataset.n_items)
        self._propensities = matrix

    def _resolve(self, dataset: Dataset) -> np.ndarray:
        if isinstance(self.matrix, (str, PathLike)):
            path = Path(self.matrix)
            if not path.is_file():
                raise DebiasRecError(f"no file of propensities at {path}")
            return read_matrix(path, (dataset.n_users, dataset.n_items))
        if self.matrix is not None:
            return np.asarray(self.matrix, dtype=np.float64)
        if dataset.given_propensities is None:
            raise DebiasRecError(
                f"{dataset.name} comes without propensities: pass matrix=, or use 'naive_bayes', 'popularity' or "
                "'logistic'"
            )
        return dataset.given_propensities

    def _estimate(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None) -> np.ndarray:
        return self._propensities[users, items]

    def _summary(self) -> str:
        return "given propensities"
