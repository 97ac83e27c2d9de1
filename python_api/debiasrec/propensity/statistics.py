"""How propensities spread: the statistics by which LTD compares estimators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from ..data.dataset import check_split
from ..errors import DebiasRecError

if TYPE_CHECKING:
    from ..data.dataset import Split


class Predicts(Protocol):
    """A fitted estimator of propensities, or the one that a method has learned."""

    def predict(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None = None) -> np.ndarray:
        """Propensities of pairs in (0, 1], [n]."""


@dataclass(frozen=True)
class PropensityStatistics:
    """Statistics of propensities that are scaled so that the sum of 1/q over the biased ratings is U I.

    Attributes:
        variance: SV, the sample variance over the uniform ratings.
        mean_inverse_square: MIS, the mean of 1/q^2 over the uniform ratings.
        scale: what the propensities were multiplied by.
        mean_by_rating: mean over the biased ratings of each value; Series by rating.
    """

    variance: float
    mean_inverse_square: float
    scale: float
    mean_by_rating: pd.Series


def propensity_statistics(propensity: Predicts, split: Split) -> PropensityStatistics:
    """SV and MIS on the uniform training ratings, after the propensities are scaled.

    With c = (1 / UI) * sum over B of 1/q and q' = c q:  sum over B of 1/q' = UI,

        SV = sum (q' - mean q')^2 / (n - 1),    MIS = mean of 1/q'^2    over the n uniform training ratings.

    SV is without its square in print, where it is 0 for every q.

    Args:
        propensity: fitted; its `predict` takes users, items and ratings in stars.
        split: with at least two uniform training ratings.

    Raises:
        DebiasRecError: no split, or fewer than two uniform training ratings.

    Source: Wang et al., "Combating Selection Biases in Recommender Systems with a Few Unbiased Ratings", WSDM 2021,
        eq (25) and (26).
    """
    check_split(split)
    train, uniform = split.train, split.uniform_train
    if uniform is None or len(uniform) < 2:
        raise DebiasRecError(
            f"propensity statistics need two uniform training ratings, which the split {split.name!r} does not have"
        )
    biased = propensity.predict(train.users, train.items, train.ratings).astype(np.float64)
    scale = float((1.0 / biased).sum() / (split.dataset.n_users * split.dataset.n_items))
    scaled = scale * propensity.predict(uniform.users, uniform.items, uniform.ratings).astype(np.float64)
    return PropensityStatistics(
        variance=float(scaled.var(ddof=1)),
        mean_inverse_square=float((1.0 / scaled**2).mean()),
        scale=scale,
        mean_by_rating=pd.Series(scale * biased).groupby(train.ratings).mean().rename_axis("rating"),
    )
