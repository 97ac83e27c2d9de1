"""Fitted methods on the validation rows, which choose settings, stopping and baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..data import Split
from ..training.click_validation import CLICK_CRITERIA, ClickValidator
from ..training.validation import validation_rows, validation_weights
from .evaluate import score_rows
from .metrics import errors, global_auc
from .parts import make_part

if TYPE_CHECKING:
    from ..methods import Method


def validation_value(model: Method, split: Split, criterion: str) -> float:
    """A criterion of early stopping on the rows that it watches; NaN when the split has no such rows.

    Args:
        model: a fitted method.
        split: where the validation rows come from: the uniform ones, else the biased ones.
        criterion: "auc" (over all rows at once), "mse" or "snips_mse" (against the model's own targets), or one of
            clicks, as `debiasrec.training.click_validation.ClickValidator` states them.

    Returns:
        The value or NaN.
    """
    rows = validation_rows(split, criterion)
    if rows is None:
        return float("nan")
    if criterion in CLICK_CRITERIA:
        validator = ClickValidator(split, criterion, "cpu")
        return validator(lambda users, items: torch.from_numpy(model.predict(users.numpy(), items.numpy())))
    scores = score_rows(model.name, model, rows, validation=True)
    if criterion != "auc":
        return errors(scores, model.encode(rows.ratings), validation_weights(split, criterion))["mse"]
    return global_auc(scores, make_part("validation", rows, split.dataset.positives(rows.ratings)))


def validation_auc(model: Method, split: Split) -> float:
    """Global AUC on the rows that early stopping watches for "auc"; NaN when the split has no such rows.

    Args:
        model: a fitted method.
        split: where the validation rows come from.

    Returns:
        The AUC in [0, 1] or NaN.
    """
    return validation_value(model, split, "auc")
