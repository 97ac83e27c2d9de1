"""Inverse propensity scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from debiasrec.methods.mf import UniformRows
from debiasrec.methods.options import choice, number
from debiasrec.propensity import PROPENSITIES, make_propensity

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class IPS(UniformRows):
    """Matrix factorisation with every squared error weighted by one over its propensity: sum of (s - t)^2 / q.

    Args:
        propensity: "naive_bayes", "logistic", "mf", "popularity", "given", or "auto": naive Bayes where the split has
            uniform training ratings, popularity elsewhere.
        propensity_levels: what naive Bayes tells apart: "stars", or "binary" (positive and negative).
        clip_min: propensities below are raised to it; None leaves it to the estimator.

    Attributes (after fit):
        propensity_: the fitted estimator; `propensity_.describe()` tells what was clipped.

    Source: Schnabel et al., ICML 2016, eq (10).
    """

    name: ClassVar[str] = "ips"
    summary: ClassVar[str] = "inverse propensity scoring"
    source: ClassVar[str] = "Schnabel et al., Recommendations as Treatments, ICML 2016"

    propensity: str = choice("auto", "auto", *PROPENSITIES)
    propensity_levels: str = choice("stars", "stars", "binary")
    clip_min: float | None = number(None, above=0, none=True)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Fit the propensity model on the split; the weights of the training rows are the inverse propensities."""
        name = self.propensity
        if name == "auto":
            name = "popularity" if split.uniform_train is None else "naive_bayes"
        options: dict[str, Any] = {}
        if name == "naive_bayes":
            options["levels"] = self.propensity_levels
        if self.clip_min is not None:
            options["clip_min"] = self.clip_min
        self.propensity_ = make_propensity(name, **options).fit(split)
        biased = split.train
        weights = np.ones(len(rows))
        weights[: len(biased)] /= self.propensity_.predict(biased.users, biased.items, biased.ratings)
        self.mean_weight_ = float(np.mean(weights))
        return {"weights": weights.astype(np.float32)}
