"""The contract of Interactions and Dataset."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from debiasrec.data import Dataset, Interactions, load_simulated
from debiasrec.errors import DebiasRecError


def small(**changes: object) -> Dataset:
    fields: dict = {
        "name": "small",
        "biased": Interactions(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([5, 1, 4])),
        "uniform": Interactions(np.array([0, 1]), np.array([1, 0]), np.array([2, 4])),
        "n_users": 2,
        "n_items": 2,
        "user_ids": pd.Index(["ann", "bob"]),
        "item_ids": pd.Index([10, 20]),
        "rating_scale": (1.0, 5.0),
        "threshold": 4.0,
    }
    return Dataset(**{**fields, **changes})


def test_rows_are_kept_as_read_only_int64_and_float32_without_touching_the_callers_arrays():
    users = np.array([0, 1], dtype=np.int64)
    rows = Interactions(users, np.array([1, 0], dtype=np.int32), np.array([5.0, 1.0]))
    assert (rows.users.dtype, rows.items.dtype, rows.ratings.dtype) == (np.int64, np.int64, np.float32)
    users[0] = 7
    assert rows.users[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        rows.items[0] = 3


def test_take_concatenate_and_pairs():
    rows = small().biased
    assert rows.take(np.array([2, 0])).pairs(2).tolist() == [3, 0]
    assert len(rows.take(np.array([True, False, True]))) == 2
    both = Interactions.concatenate(rows, rows)
    assert len(both) == 6
    assert both.ratings.tolist() == [5, 1, 4, 5, 1, 4]


def test_columns_of_unequal_length_and_fractional_ids_are_refused():
    with pytest.raises(DebiasRecError, match="one length"):
        Interactions(np.array([0]), np.array([0, 1]), np.array([1.0]))
    with pytest.raises(DebiasRecError, match="integers"):
        Interactions(np.array([0.5]), np.array([0]), np.array([1.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"biased": Interactions([0, 2], [0, 0], [1, 5])}, r"user ids must lie in 0\.\.1, 1 id out of range: 2"),
        ({"biased": Interactions([0, 1], [-1, 0], [1, 5])}, r"item ids must lie in 0\.\.1, 1 id out of range: -1"),
        ({"uniform": Interactions([0, 1], [0, 0], [0, 6])}, r"uniform: ratings must lie in 1\.\.5, 2 rows outside"),
        ({"biased": Interactions([0, 1], [0, 0], [np.nan, 5])}, r"1 row outside.*\(ann, 10, nan\)"),
        ({"biased": Interactions([0, 1, 0], [0, 0, 0], [1, 5, 2])}, r"1 row repeat.*\(ann, 10, 2\)"),
        ({"biased": Interactions([], [], [])}, "biased part has no rows"),
        ({"user_ids": pd.Index(["ann", "ann"])}, "user_ids must hold 2 distinct ids"),
        ({"threshold": 1.0}, r"threshold must lie in \(1, 5\], got 1"),
        ({"rating_scale": (5.0, 1.0)}, "lowest < highest"),
        ({"user_features": np.zeros((3, 2))}, r"user_features must have shape \[2, f\], got \[3, 2\]"),
        ({"given_propensities": np.array([[0.5, 0.0], [1.0, 2.0]])}, r"in \(0, 1\], 2 entries are not: 0.0, 2.0"),
    ],
)
def test_a_broken_data_set_is_refused_with_what_is_wrong(changes, message):
    with pytest.raises(DebiasRecError, match=message):
        small(**changes)


def test_a_rating_at_the_threshold_is_positive_even_where_float32_rounds_it_down():
    data = small(
        threshold=3.3,
        rating_scale=(1.0, 3.3),
        biased=Interactions([0, 1], [0, 0], np.array([3.3, 1.0])),
        uniform=None,
    )
    assert data.positives(data.biased.ratings).tolist() == [True, False]
    assert data.positives(np.array([3.3, 3.2])).tolist() == [True, False]


def test_repr_is_one_line_of_sizes():
    data = load_simulated(n_users=20, n_items=10, uniform_per_user=5)
    assert repr(data).startswith("Dataset('simulated': 20 users, 10 items, ")
    assert "uniform_test 90" in repr(data.split("autodebias"))
    assert repr(data.uniform) == "Interactions(100 rows)"


def test_the_fingerprint_is_stable_and_follows_every_input():
    data = load_simulated(n_users=20, n_items=15, uniform_per_user=3)
    again = load_simulated(n_users=20, n_items=15, uniform_per_user=3)
    assert data.fingerprint() == again.fingerprint()
    assert len(data.fingerprint()) == 64
    changes = {
        "biased": data.biased.take(slice(1, None)),
        "uniform": None,
        "threshold": 3.0,
        "rating_scale": (0.0, 5.0),
        "item_ids": pd.RangeIndex(1, 16),
        "user_features": None,
        "given_propensities": None,
    }
    prints = {dataclasses.replace(data, **{name: value}).fingerprint() for name, value in changes.items()}
    assert len(prints | {data.fingerprint()}) == len(changes) + 1
