"""The number that early stopping watches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.propensity import make_propensity
from debiasrec.training.click_validation import CLICK_CRITERIA, ClickValidator

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split

Score = Callable[[Tensor, Tensor], Tensor]
ERRORS = ("mse", "snips_mse")
CRITERIA = ("auc", *ERRORS, *CLICK_CRITERIA)


def higher_is_better(criterion: str) -> bool:
    """The direction of a criterion."""
    return criterion not in ERRORS


class Validator:
    """Scores one part of a split.

    Args:
        users, items: int64 [n], inside indices.
        labels: bool [n], the positives; used by "auc".
        targets: float32 [n], the coding the method trains on; used by the errors.
        criterion: "auc" (over all pairs at once, ties count half), "mse" or "snips_mse".
        weights: float32 [n] of mean 1, of the squared errors; None for 1.
    """

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        labels: Tensor,
        targets: Tensor,
        criterion: str,
        weights: Tensor | None = None,
    ) -> None:
        self.users, self.items, self.labels, self.targets, self.weights = users, items, labels, targets, weights
        self.criterion = criterion
        self.groups = torch.zeros_like(users)

    @torch.no_grad()
    def __call__(self, score: Score) -> float:
        """The criterion of a scoring function; NaN when a score is not finite."""
        scores = score(self.users, self.items)
        if not bool(torch.isfinite(scores).all()):
            return math.nan
        if self.criterion != "auc":
            return float(debias_ext.pointwise_loss(scores, self.targets, self.weights, loss="mse", reduction="mean"))
        ranking = debias_ext.group_ranking(scores.cpu(), self.labels, self.groups.cpu(), metrics=("auc",))
        return float(ranking["auc"][0])


def make_validator(
    split: Split, encode: Callable[[np.ndarray], np.ndarray], criterion: str, device: str | torch.device
) -> Validator | ClickValidator | None:
    """A validator on `validation_rows`; None when there are none."""
    part = validation_rows(split, criterion)
    if part is None:
        return None
    if criterion in CLICK_CRITERIA:
        return ClickValidator(split, criterion, device)
    users, items = (torch.tensor(column, device=device) for column in (part.users, part.items))
    targets = torch.tensor(encode(part.ratings), device=device)
    labels = torch.from_numpy(split.dataset.positives(part.ratings))
    counts = validation_weights(split, criterion)
    weights = None if counts is None else torch.tensor(counts, dtype=torch.float32, device=device)
    return Validator(users, items, labels, targets, criterion, weights)


def validation_rows(split: Split, criterion: str) -> Interactions | None:
    """The uniform validation part, else the biased one; None when neither can be used.

    A part can be used when it has rows and, for "auc", both classes. The criteria of clicks take the biased part, which
    needs a positive row.
    """
    if criterion in CLICK_CRITERIA:
        part = split.biased_validation
        return part if part is not None and split.dataset.positives(part.ratings).any() else None
    for part in (split.uniform_validation, split.biased_validation):
        if part is None or not len(part):
            continue
        positive = split.dataset.positives(part.ratings)
        if criterion != "auc" or (positive.any() and not positive.all()):
            return part
    return None


def validation_weights(split: Split, criterion: str) -> np.ndarray | None:
    """What the errors of the validation rows count, float64 [n] of mean 1; None for all the same.

    "snips_mse" is the self-normalised estimate of the error on all pairs: a biased row counts 1 / q, with naive Bayes
    propensities of the ratings, or by popularity where no uniform ratings are there to fit these. Uniform rows are all
    the same.

    Source: Schnabel et al., Recommendations as Treatments, ICML 2016, sections 3 and 5.
    """
    rows = validation_rows(split, criterion)
    if criterion != "snips_mse" or rows is None or rows is split.uniform_validation:
        return None
    estimator = make_propensity("popularity" if split.uniform_train is None else "naive_bayes")
    weights = 1.0 / estimator.fit(split).predict(rows.users, rows.items, rows.ratings)
    return np.asarray(weights / weights.mean())
