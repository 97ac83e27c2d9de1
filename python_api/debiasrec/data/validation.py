"""Checks at the door. Every message says how many rows are wrong and shows a few of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DebiasRecError, DebiasRecWarning

if TYPE_CHECKING:
    from .dataset import Dataset, Interactions

SHOWN = 3


def plural(n: int, noun: str) -> str:
    """``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def some(values: Iterable[Any]) -> str:
    """The first few values, and an ellipsis when there are more."""
    values = list(values)
    tail = ", ..." if len(values) > SHOWN else ""
    return ", ".join(str(value) for value in values[:SHOWN]) + tail


def is_whole(value: Any) -> bool:
    """Whether the value is an integer (a bool is none)."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def as_indices(values: Any, name: str) -> np.ndarray:
    """Inside indices as int64.

    Raises:
        DebiasRecError: they are not integers.
    """
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise DebiasRecError(f"{name} must be integers (inside indices), got dtype {array.dtype}")
    return array.astype(np.int64, copy=False)


def check_scale(rating_scale: Any) -> tuple[float, float]:
    """The rating scale as two finite numbers, the lower one first, or an error."""
    if len(np.shape(rating_scale)) == 1 and len(rating_scale) == 2 and all(isinstance(v, Real) for v in rating_scale):
        low, high = map(float, rating_scale)
        if -np.inf < low < high < np.inf:
            return low, high
    raise DebiasRecError(f"rating_scale must be (lowest, highest) with lowest < highest, got {rating_scale!r}")


def check_threshold(threshold: Any, rating_scale: tuple[float, float]) -> None:
    """Raise unless the threshold is a number above the lowest rating and not above the highest."""
    low, high = rating_scale
    if not isinstance(threshold, Real) or not low < float(threshold) <= high:
        raise DebiasRecError(f"threshold must lie in ({low:g}, {high:g}], got {threshold!r}")


def show_rows(part: Interactions, rows: np.ndarray, user_ids: pd.Index, item_ids: pd.Index) -> str:
    """A few rows as ``(user, item, rating)`` with outside ids."""
    shown = [
        f"({user_ids[part.users[row]]}, {item_ids[part.items[row]]}, {part.ratings[row]:g})"
        for row in rows[: SHOWN + 1]
    ]
    return some(shown)


def check_interactions(
    part: Interactions, label: str, user_ids: pd.Index, item_ids: pd.Index, rating_scale: tuple[float, float]
) -> None:
    """Raise unless the part has rows, ids in range, ratings inside the scale, and each pair once."""
    if not len(part):
        raise DebiasRecError(f"the {label} part has no rows")
    for side, index, n in (("user", part.users, len(user_ids)), ("item", part.items, len(item_ids))):
        wrong = np.unique(index[(index < 0) | (index >= n)])
        if len(wrong):
            raise DebiasRecError(
                f"{label}: {side} ids must lie in 0..{n - 1}, {plural(len(wrong), 'id')} out of range: {some(wrong)}"
            )
    low, high = map(np.float32, rating_scale)
    outside = np.flatnonzero(~((part.ratings >= low) & (part.ratings <= high)))
    if len(outside):
        raise DebiasRecError(
            f"{label}: ratings must lie in {low:g}..{high:g}, {plural(len(outside), 'row')} outside, "
            f"(user, item, rating): {show_rows(part, outside, user_ids, item_ids)}"
        )
    again = duplicate_rows(part.pairs(len(item_ids)))
    if len(again):
        raise DebiasRecError(
            f"{label}: a (user, item) pair may occur once, {plural(len(again), 'row')} repeat an earlier pair, "
            f"(user, item, rating): {show_rows(part, again, user_ids, item_ids)}; keep one row of each pair "
            "(drop_duplicates of pandas)"
        )


def duplicate_rows(keys: np.ndarray) -> np.ndarray:
    """Ascending positions of the keys that occurred earlier in the array."""
    order = np.argsort(keys, kind="stable")
    repeats = keys[order[1:]] == keys[order[:-1]]
    return np.sort(order[1:][repeats])


def check_matrix(matrix: np.ndarray, name: str, n_rows: int, n_columns: int | None) -> None:
    """Raise unless the matrix has the expected shape and finite entries; propensities must lie in (0, 1]."""
    columns = "f" if n_columns is None else str(n_columns)
    if matrix.ndim != 2 or matrix.shape[0] != n_rows or (n_columns is not None and matrix.shape[1] != n_columns):
        raise DebiasRecError(f"{name} must have shape [{n_rows}, {columns}], got {list(matrix.shape)}")
    bad = ~np.isfinite(matrix)
    if name == "given_propensities":
        bad |= (matrix <= 0) | (matrix > 1)
    if bad.any():
        expected = "in (0, 1]" if name == "given_propensities" else "finite"
        raise DebiasRecError(f"{name} must be {expected}, {int(bad.sum()):,} entries are not: {some(matrix[bad][:4])}")


def check_classes(dataset: Dataset) -> None:
    """Raise when a part holds positives alone or negatives alone."""
    for label, part in (("biased", dataset.biased), ("uniform", dataset.uniform)):
        if part is None:
            continue
        n_positive = int(dataset.positives(part.ratings).sum())
        if n_positive in (0, len(part)):
            missing = "positive" if n_positive == 0 else "negative"
            raise DebiasRecError(
                f"{label}: no rating is {missing} (positive means rating >= {dataset.threshold:g}; "
                f"{plural(len(part), 'rating')}: {part.ratings.min():g}..{part.ratings.max():g}); "
                "set threshold so that both classes occur"
            )


def settle_overlap(
    biased: Interactions, uniform: Interactions, n_items: int, drop_overlap: bool
) -> tuple[Interactions, str | None]:
    """Find uniform rows whose pair is also a biased row; warn about them, or drop them.

    Args:
        biased: the biased part.
        uniform: the uniform part.
        n_items: I.
        drop_overlap: drop these rows from the uniform part instead of warning.

    Returns:
        The uniform part to use, and a sentence about the overlap (None without one).
    """
    biased_keys = biased.pairs(n_items)
    order = np.argsort(biased_keys)
    ranked = biased_keys[order]
    keys = uniform.pairs(n_items)
    at = np.minimum(np.searchsorted(ranked, keys), len(ranked) - 1)
    shared = ranked[at] == keys
    n_shared = int(shared.sum())
    if not n_shared:
        return uniform, None
    n_differ = int((biased.ratings[order[at]] != uniform.ratings)[shared].sum())
    differ = "all with equal ratings" if n_differ == 0 else f"{n_differ:,} with another rating"
    note = f"{n_shared:,} of {len(uniform):,} uniform rows are also biased rows ({differ})"
    if drop_overlap:
        return uniform.take(~shared), f"{note}; dropped from the uniform part"
    warnings.warn(
        f"{note}: the debiased test then holds pairs seen in training; drop_overlap=True (--drop-overlap) removes them",
        DebiasRecWarning,
        stacklevel=4,
    )
    return uniform, f"{note}; kept"
