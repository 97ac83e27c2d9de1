"""The named protocols."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from debiasrec.data import SPLITS, Dataset, load_simulated
from debiasrec.data.splits import LEAVE_ONE_OUT, check_disjoint
from debiasrec.errors import DebiasRecError


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_simulated(n_users=101, n_items=40, density=0.1, uniform_per_user=7)


def sizes(total: int, *shares: int) -> list[int]:
    """floor(share * total), the remainder to the last."""
    counts = [total * share // 100 for share in shares[:-1]]
    return [*counts, total - sum(counts)]


@pytest.mark.parametrize(
    ("name", "biased", "uniform"),
    [
        ("autodebias", {"train": 100}, {"uniform_train": 5, "uniform_validation": 5, "uniform_test": 90}),
        ("bal", {"train": 100}, {"uniform_train": 5, "uniform_validation": 5, "uniform_test": 90}),
        (
            "interd",
            {"train": 80, "biased_validation": 10, "biased_test": 10},
            {"uniform_train": 5, "uniform_validation": 5, "uniform_test": 90},
        ),
        ("ltd", {"train": 90, "biased_validation": 10}, {"uniform_train": 5, "uniform_test": 95}),
        ("implicit", {"train": 90, "biased_validation": 10}, {"uniform_test": 100}),
    ],
)
def test_each_protocol_has_its_parts_in_its_shares(data, name, biased, uniform):
    split = data.split(name)
    found = {part: len(rows) for part, rows in split.parts()}
    expected = dict(zip(biased, sizes(len(data.biased), *biased.values()), strict=True))
    expected |= dict(zip(uniform, sizes(len(data.uniform), *uniform.values()), strict=True))
    assert found == expected


@pytest.mark.parametrize("name", sorted(SPLITS.keys() - {LEAVE_ONE_OUT}))
def test_the_parts_of_each_kind_are_its_rows_each_once(data, name):
    parts = dict(data.split(name, seed=3).parts())
    for whole, uniform in ((data.biased, False), (data.uniform, True)):
        kept = [rows.pairs(40) for part, rows in parts.items() if part.startswith("uniform") == uniform]
        assert sorted(np.concatenate(kept)) == sorted(whole.pairs(40))


def test_the_seed_decides_the_split(data):
    one, same, other = data.split("interd", 1), data.split("interd", 1), data.split("interd", 2)
    for name in ("train", "uniform_test"):
        np.testing.assert_array_equal(getattr(one, name).pairs(40), getattr(same, name).pairs(40))
        assert not np.array_equal(getattr(one, name).pairs(40), getattr(other, name).pairs(40))


def test_without_uniform_ratings_interd_cuts_the_biased_part_and_the_others_say_what_they_need(data):
    biased_only = dataclasses.replace(data, uniform=None)
    parts = dict(biased_only.split("interd").parts())
    assert list(parts) == ["train", "biased_validation", "biased_test"]
    np.testing.assert_array_equal(parts["train"].pairs(40), data.split("interd").train.pairs(40))
    for name in ("autodebias", "bal", "ltd", "implicit"):
        with pytest.raises(DebiasRecError, match=f"split '{name}' needs uniform ratings and simulated has none"):
            biased_only.split(name)


def test_counts_are_a_row_per_part(data):
    split = data.split("ltd")
    counts = split.counts().set_index("part")
    assert list(counts.columns) == ["rows", "users", "items", "positives"]
    assert counts.loc["train", "rows"] == len(split.train)
    assert counts.loc["uniform_test", "users"] == len(set(split.uniform_test.users))
    assert counts.loc["biased_validation", "positives"] == (split.biased_validation.ratings >= 4).sum()


def test_unknown_names_negative_seeds_and_too_few_rows_are_refused(data):
    with pytest.raises(DebiasRecError, match="unknown split 'interb'; did you mean 'interd'"):
        data.split("interb")
    with pytest.raises(DebiasRecError, match="seed must be a whole number >= 0"):
        data.split("interd", -1)
    tiny = dataclasses.replace(data, uniform=data.uniform.take(slice(19)))
    with pytest.raises(DebiasRecError, match=r"leaves a part of 19 rows empty.* needs at least 20 rows"):
        tiny.split("autodebias")


def test_overlapping_and_incomplete_parts_are_caught(data):
    rows = data.biased
    overlapping = {"train": rows.take(slice(0, 10)), "test": rows.take(slice(9, None))}
    incomplete = {"train": rows.take(slice(0, 10)), "test": rows.take(slice(11, None))}
    replaced = {"train": rows.take(slice(0, 10)), "test": rows.take(np.r_[9, 11 : len(rows)])}
    for parts in (overlapping, incomplete, replaced):
        with pytest.raises(DebiasRecError, match="overlap or lose rows"):
            check_disjoint(parts, rows, data.n_items)
