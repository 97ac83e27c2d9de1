"""Ratings in pandas frames: any column names, string or integer ids."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DebiasRecError
from .dataset import Dataset, Interactions
from .validation import check_classes, check_scale, plural, settle_overlap, some

ID_KINDS = ("string", "integer", "floating", "boolean")
USUAL_THRESHOLDS = {(1.0, 5.0): 4.0, (0.0, 1.0): 1.0}


def from_frame(
    biased: pd.DataFrame,
    uniform: pd.DataFrame | None = None,
    *,
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
    rating_scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    drop_overlap: bool = False,
    name: str = "custom",
) -> Dataset:
    """Build a data set from one frame of self-selected ratings and, where there is one, a frame of uniform ratings.

    Args:
        biased: one row per rating; other columns are ignored.
        uniform: the same for ratings of items drawn uniformly at random, with the same column names, or None.
        user: column of user ids (strings or integers; kept as outside ids).
        item: column of item ids.
        rating: column of numbers.
        rating_scale: (lowest, highest) possible rating. None infers it from all ratings: 0..1 when there are only
            zeros and ones, 1..5 when all are whole numbers from 1 to 5, otherwise lowest..highest seen; the notes of
            the data set say which.
        threshold: a rating >= threshold is positive. None means 4 on a 1..5 scale and 1 on a 0..1 scale; any other
            scale needs it stated.
        drop_overlap: remove uniform rows whose pair is also a biased row (kept with a warning otherwise).
        name: how reports call the data.

    Returns:
        The data set; inside ids follow the sorted outside ids of both frames together.

    Raises:
        DebiasRecError: missing or repeated columns, missing values, ids that are neither strings nor numbers, ratings
            that are no numbers or outside the scale, a pair rated twice in one frame, an empty frame, or a part that
            holds one class alone.
    """
    frames = {"biased": biased} if uniform is None else {"biased": biased, "uniform": uniform}
    if len({user, item, rating}) < 3:
        raise DebiasRecError(f"user, item and rating must name three columns, got {user!r}, {item!r}, {rating!r}")
    for label, frame in frames.items():
        _check_frame(frame, label, [user, item, rating])
    notes = []
    if rating_scale is None:
        rating_scale = _infer_scale(pd.concat([frame[rating] for frame in frames.values()]).to_numpy(np.float64))
        notes.append(f"rating scale {rating_scale[0]:g}..{rating_scale[1]:g}, inferred from the ratings")
    rating_scale = check_scale(rating_scale)
    if threshold is None:
        threshold = _usual_threshold(rating_scale)
        notes.append(f"positive means rating >= {threshold:g}, the default on this scale")
    user_ids = _outside_ids([frame[user] for frame in frames.values()], user)
    item_ids = _outside_ids([frame[item] for frame in frames.values()], item)
    parts = {
        label: Interactions(
            user_ids.get_indexer(frame[user]), item_ids.get_indexer(frame[item]), frame[rating].to_numpy(np.float32)
        )
        for label, frame in frames.items()
    }
    return assemble(
        name=name,
        biased=parts["biased"],
        uniform=parts.get("uniform"),
        drop_overlap=drop_overlap,
        user_ids=user_ids,
        item_ids=item_ids,
        rating_scale=rating_scale,
        threshold=threshold,
        notes=notes,
    )


def assemble(
    *,
    name: str,
    biased: Interactions,
    uniform: Interactions | None,
    drop_overlap: bool,
    user_ids: pd.Index,
    item_ids: pd.Index,
    rating_scale: tuple[float, float],
    threshold: float,
    notes: list[str],
    user_features: np.ndarray | None = None,
    item_features: np.ndarray | None = None,
    given_propensities: np.ndarray | None = None,
) -> Dataset:
    """The door through which every loader goes: all checks, then the overlap of the two parts.

    Args:
        drop_overlap: remove uniform rows whose pair is also a biased row (kept with a warning otherwise).
        notes: sentences about what the loader found; one about the overlap is added.

    The other arguments are the fields of ``Dataset``.

    Returns:
        The checked data set.

    Raises:
        DebiasRecError: as ``Dataset``, or a part holds one class alone.
    """

    def build(uniform_part: Interactions | None, all_notes: list[str]) -> Dataset:
        return Dataset(
            name=name,
            biased=biased,
            uniform=uniform_part,
            n_users=len(user_ids),
            n_items=len(item_ids),
            user_ids=user_ids,
            item_ids=item_ids,
            rating_scale=rating_scale,
            threshold=threshold,
            user_features=user_features,
            item_features=item_features,
            given_propensities=given_propensities,
            notes=tuple(all_notes),
        )

    dataset = build(uniform, notes)
    check_classes(dataset)
    if uniform is None:
        return dataset
    kept, note = settle_overlap(biased, uniform, len(item_ids), drop_overlap)
    if note is None:
        return dataset
    dataset = build(kept, [*notes, note])
    check_classes(dataset)
    return dataset


def _check_frame(frame: pd.DataFrame, label: str, columns: list[str]) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise DebiasRecError(f"{label}: expected a pandas DataFrame, got {type(frame).__name__}")
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DebiasRecError(
            f"{label}: no column {', '.join(map(repr, missing))}; the frame has {some_columns(frame)} "
            "(name yours with user=, item=, rating=; --user-column and its like on the command line)"
        )
    repeated = [column for column in columns if list(frame.columns).count(column) > 1]
    if repeated:
        raise DebiasRecError(f"{label}: more than one column is called {', '.join(map(repr, repeated))}")
    if frame.empty:
        raise DebiasRecError(f"{label}: the frame has no rows")
    for column in columns:
        empty = frame.index[frame[column].isna()]
        if len(empty):
            rows = f"{plural(len(empty), 'row')}, index {some(empty)}"
            raise DebiasRecError(f"{label}: column '{column}' is empty in {rows}; drop or fill such rows")
    values = frame[columns[2]]
    if not pd.api.types.is_numeric_dtype(values):
        wrong = values[pd.to_numeric(values, errors="coerce").isna()]
        found = f"{plural(len(wrong), 'value')} not: {some(map(repr, wrong))}"
        found = found if len(wrong) else "convert it with .astype(float)"
        raise DebiasRecError(f"{label}: column '{columns[2]}' must hold numbers (dtype {values.dtype}); {found}")
    endless = frame.index[np.isinf(values.to_numpy(np.float64))]
    if len(endless):
        raise DebiasRecError(
            f"{label}: column '{columns[2]}' is infinite in {plural(len(endless), 'row')}, index {some(endless)}"
        )


def some_columns(frame: pd.DataFrame) -> str:
    """The names of a frame's columns, at most ten."""
    names = [repr(column) for column in frame.columns[:10]]
    return ", ".join(names) + (", ..." if len(frame.columns) > 10 else "") if names else "no columns"


def _infer_scale(ratings: np.ndarray) -> tuple[float, float]:
    if np.isin(ratings, (0.0, 1.0)).all():
        return 0.0, 1.0
    if np.isin(ratings, (1.0, 2.0, 3.0, 4.0, 5.0)).all():
        return 1.0, 5.0
    return float(ratings.min()), float(ratings.max())


def _usual_threshold(rating_scale: tuple[float, float]) -> float:
    low, high = rating_scale
    if (low, high) not in USUAL_THRESHOLDS:
        raise DebiasRecError(
            f"threshold must be given for ratings on {low:g}..{high:g}: from which rating on is an item liked? "
            "(defaults exist for 1..5, where it is 4, and 0..1, where it is 1)"
        )
    return USUAL_THRESHOLDS[low, high]


def _outside_ids(columns: list[pd.Series], name: str) -> pd.Index:
    plain = [column.astype(column.cat.categories.dtype) if hasattr(column, "cat") else column for column in columns]
    together = pd.concat(plain, ignore_index=True)
    if pd.api.types.infer_dtype(together) not in ID_KINDS:
        found = ", ".join(sorted({type(value).__name__ for value in together}))
        raise DebiasRecError(f"column '{name}' must hold ids that are strings alone or numbers alone, got {found}")
    return pd.Index(together.unique(), name=name).sort_values()
