"""Estimators of the probability that a rating was observed."""

from __future__ import annotations

from dataclasses import fields
from types import MappingProxyType
from typing import Any

from ..errors import DebiasRecError
from ..naming import unknown_name
from .base import PropensityEstimator
from .given import GivenPropensity
from .logistic import LogisticPropensity
from .matrix_factorization import MFPropensity
from .naive_bayes import NaiveBayesPropensity
from .network import PropensityNetwork
from .poisson import PoissonFactors, poisson_factorization
from .popularity import PopularityPropensity
from .statistics import PropensityStatistics, propensity_statistics

PROPENSITIES: MappingProxyType[str, type[PropensityEstimator]] = MappingProxyType(
    {
        "naive_bayes": NaiveBayesPropensity,
        "logistic": LogisticPropensity,
        "mf": MFPropensity,
        "popularity": PopularityPropensity,
        "given": GivenPropensity,
    }
)

__all__ = [
    "PROPENSITIES",
    "GivenPropensity",
    "LogisticPropensity",
    "MFPropensity",
    "NaiveBayesPropensity",
    "PoissonFactors",
    "PopularityPropensity",
    "PropensityEstimator",
    "PropensityNetwork",
    "PropensityStatistics",
    "make_propensity",
    "poisson_factorization",
    "propensity_statistics",
]


def make_propensity(name: str, **options: Any) -> PropensityEstimator:
    """A propensity estimator by name.

    Args:
        name: a key of ``PROPENSITIES`` ("naive_bayes", "logistic", "mf", "popularity", "given").
        options: keyword options of that estimator.

    Returns:
        The estimator, not fitted.

    Raises:
        DebiasRecError: an unknown name or option (the nearest known one is named), or an option out of range.
    """
    if name not in PROPENSITIES:
        raise DebiasRecError(unknown_name("propensity estimator", name, PROPENSITIES))
    cls = PROPENSITIES[name]
    known = [field.name for field in fields(cls) if field.init]
    for option in options:
        if option not in known:
            raise DebiasRecError(unknown_name(f"option of propensity estimator {name}", option, known))
    return cls(**options)
