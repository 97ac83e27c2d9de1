"""The harness times nothing that is not equal, and interleaves what it times."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest
import torch
from debiasrec.benchmarks.harness import OURS, Case, Timing, UnequalResults, check_equal, measure, summary


def case(ours: object, other: object) -> Case:
    return Case({OURS: lambda: ours, "other": lambda: other}, bytes_moved=1)


@pytest.mark.parametrize(
    ("ours", "other"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])),
        (torch.tensor([[1.0, 2.0]]), torch.tensor([1.0, 2.0])),
        ([1.0, 2.0], [1.0]),
        ({"auc": np.array([0.5])}, {"auc": np.array([np.nan])}),
        (torch.tensor([1e-9, 2e-9]), torch.tensor([1e-9, 3e-9])),
    ],
)
def test_unequal_results_are_refused_with_the_name_of_the_alternative(ours, other):
    with pytest.raises(UnequalResults, match="other"):
        check_equal(case(ours, other))


def test_equal_up_to_rounding_passes_with_nan_in_the_same_places():
    check_equal(case({"auc": np.array([0.5, np.nan])}, {"auc": torch.tensor([0.5 + 1e-9, float("nan")])}))


def test_sparse_gradients_are_equal_after_summing_duplicate_rows():
    rows, values = torch.tensor([[3, 1, 3]]), torch.tensor([[1.0], [2.0], [4.0]])
    raw = torch.sparse_coo_tensor(rows, values, (5, 1), check_invariants=True)
    check_equal(case(raw.coalesce(), raw))
    with pytest.raises(UnequalResults):
        check_equal(case(raw.coalesce(), 2 * raw))


def test_alternatives_take_turns_in_changing_order(counted_case):
    case, calls = counted_case
    timings = measure(case, seconds=100.0)
    rounds = calls[6:]  # after the three calls of each that set the number of rounds
    pairs = list(zip(rounds[::2], rounds[1::2], strict=True))
    assert all(set(pair) == {OURS, "other"} for pair in pairs)
    assert 0.4 < sum(pair[0] == OURS for pair in pairs) / len(pairs) < 0.6
    assert timings["other"].repeats == timings[OURS].repeats


def test_what_comes_before_a_call_is_not_timed_and_never_part_of_the_comparison():
    moved = []

    def before() -> None:
        time.sleep(0.01)
        moved.append(len(moved))

    batch = Case({OURS: lambda: float(len(moved)), "other": lambda: float(len(moved))}, bytes_moved=1, before=before)
    check_equal(batch)
    assert not moved
    assert measure(batch, seconds=1e-6)[OURS].p20 < 0.01
    assert moved


def test_a_slow_alternative_is_called_less_often_but_at_least_once():
    def slow() -> float:
        time.sleep(0.02)
        return 1.0

    timings = measure(Case({OURS: lambda: 1.0, "slow": slow}, bytes_moved=1), seconds=0.04)
    assert 1 <= timings["slow"].repeats < timings[OURS].repeats
    assert timings["slow"].p50 > timings[OURS].p50


def test_garbage_collection_is_off_during_the_timing_and_on_after_it():
    seen = []
    measure(Case({OURS: lambda: seen.append(gc.isenabled())}, bytes_moved=1), seconds=0.001)
    assert not any(seen)
    assert gc.isenabled()


def test_quantiles_and_noise():
    timing = summary([float(value) for value in range(1, 12)])
    assert timing == Timing(3.0, 6.0, 9.0, 11)
    assert timing.noisy
    assert not Timing(1.0, 1.1, 1.4, 7).noisy
