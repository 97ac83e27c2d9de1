"""Ratings in data frames, and the checks at the door."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from debiasrec.data import from_frame
from debiasrec.errors import DebiasRecError, DebiasRecWarning


def ratings(rows: list[tuple], columns: tuple[str, ...] = ("user", "item", "rating")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))


BIASED = ratings([("eve", "x", 5), ("bob", "x", 2), ("bob", "y", 4)])
UNIFORM = ratings([("ann", "y", 1), ("eve", "z", 4)])


def test_outside_ids_of_both_frames_are_kept_and_inside_ids_are_their_sorted_positions():
    data = from_frame(BIASED, UNIFORM)
    assert data.user_ids.tolist() == ["ann", "bob", "eve"]
    assert data.item_ids.tolist() == ["x", "y", "z"]
    assert data.biased.users.tolist() == [2, 1, 1]
    assert data.uniform.items.tolist() == [1, 2]
    assert (data.rating_scale, data.threshold) == ((1.0, 5.0), 4.0)


def test_other_column_names_integer_ids_and_further_columns():
    frame = ratings([(70, 900, 3, "x"), (5, 900, 5, "y")], ("who", "what", "stars", "comment"))
    data = from_frame(frame, user="who", item="what", rating="stars")
    assert data.uniform is None
    assert data.user_ids.tolist() == [5, 70]
    assert data.biased.users.tolist() == [1, 0]


def test_categorical_ids_and_nullable_ratings():
    frame = BIASED.astype({"user": "category", "rating": "Int64"})
    data = from_frame(frame)
    assert data.user_ids.tolist() == ["bob", "eve"]
    assert data.biased.ratings.tolist() == [5, 2, 4]


@pytest.mark.parametrize(
    ("values", "scale", "threshold"),
    [([2, 4], (1.0, 5.0), 4.0), ([0, 1], (0.0, 1.0), 1.0)],
)
def test_scale_and_threshold_follow_the_stated_rule_and_are_noted(values, scale, threshold):
    data = from_frame(ratings([(0, 0, values[0]), (1, 0, values[1])]))
    assert (data.rating_scale, data.threshold) == (scale, threshold)
    assert any("inferred" in note for note in data.notes)
    assert any("default" in note for note in data.notes)


def test_an_unusual_scale_needs_a_threshold():
    frame = ratings([(0, 0, 0.5), (1, 0, 10)])
    with pytest.raises(DebiasRecError, match=r"threshold must be given for ratings on 0\.5\.\.10"):
        from_frame(frame)
    data = from_frame(frame, threshold=7)
    assert data.rating_scale == (0.5, 10.0)
    assert data.positives(data.biased.ratings).tolist() == [False, True]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (BIASED.rename(columns={"rating": "stars"}), "biased: no column 'rating'.*'user', 'item', 'stars'"),
        (BIASED.head(0), "biased: the frame has no rows"),
        (ratings([("a", None, 5), ("b", "x", 1)]), "column 'item' is empty in 1 row, index 0"),
        (ratings([("a", "x", np.nan)] * 5), r"column 'rating' is empty in 5 rows, index 0, 1, 2, \.\.\."),
        (ratings([("a", "x", "5"), ("b", "x", "good")]), "must hold numbers.*1 value not: 'good'"),
        (ratings([("a", "x", np.inf), ("b", "x", 1)]), "infinite in 1 row, index 0"),
        (ratings([("a", "x", 5), ("a", "x", 1)]), r"1 row repeat.*\(a, x, 1\)"),
        (ratings([("a", "x", 5), (3, "x", 1)]), "strings alone or numbers alone, got int, str"),
        (ratings([(("a", 1), "x", 5), (("b", 1), "x", 1)]), "strings alone or numbers alone, got tuple"),
        (BIASED.astype({"rating": "category"}), "dtype category.*astype"),
        (BIASED.set_axis(["user", "item", "item"], axis=1), "no column 'rating'"),
        (pd.concat([BIASED, BIASED[["item"]]], axis=1), "more than one column is called 'item'"),
        (BIASED.to_dict("list"), "biased: expected a pandas DataFrame, got dict"),
        (ratings([("a", "x", 5), ("b", "x", 4)]), "no rating is negative.*rating >= 4"),
        (ratings([("a", "x", 1), ("b", "x", 2)]), "no rating is positive"),
    ],
)
def test_a_bad_frame_is_refused_with_how_many_rows_and_some_of_them(frame, message):
    with pytest.raises(DebiasRecError, match=message):
        from_frame(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "item"}, "must name three columns"),
        ({"rating_scale": (5, 1)}, r"rating_scale must be \(lowest, highest\)"),
        ({"rating_scale": "1,5"}, "rating_scale must be"),
        ({"threshold": "4"}, "threshold must lie in"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(DebiasRecError, match=message):
        from_frame(BIASED, **options)


def test_a_bad_uniform_frame_is_named():
    with pytest.raises(DebiasRecError, match="uniform: no rating is positive"):
        from_frame(BIASED, UNIFORM.head(1))
    with pytest.raises(DebiasRecError, match=r"uniform: ratings must lie in 1\.\.5, 1 row outside.*\(ann, y, 9\)"):
        from_frame(BIASED, UNIFORM.replace({"rating": {1: 9}}), rating_scale=(1, 5))


def test_overlap_is_kept_with_a_warning_by_default():
    overlapping = pd.concat([UNIFORM, ratings([("bob", "y", 4), ("bob", "x", 1)])])
    with pytest.warns(DebiasRecWarning, match=r"2 of 4 uniform rows are also biased rows \(1 with another rating\)"):
        data = from_frame(BIASED, overlapping)
    assert len(data.uniform) == 4


def test_drop_overlap_removes_the_rows_from_the_uniform_part_alone():
    overlapping = pd.concat([ratings([("bob", "y", 4)]), UNIFORM])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = from_frame(BIASED, overlapping, drop_overlap=True)
    assert len(data.biased) == 3
    assert data.uniform.pairs(3).tolist() == from_frame(BIASED, UNIFORM).uniform.pairs(3).tolist()
    assert any("dropped" in note for note in data.notes)


def test_an_overlap_that_leaves_one_class_is_refused():
    with pytest.raises(DebiasRecError, match="uniform: no rating is positive"):
        from_frame(BIASED, ratings([("bob", "y", 4), ("ann", "y", 1)]), drop_overlap=True)
