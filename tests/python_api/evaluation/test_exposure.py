"""The correlation of estimated and true exposures."""

from __future__ import annotations

import numpy as np
import pytest

from debiasrec import load
from debiasrec.data import Split, from_frame
from debiasrec.evaluation import exposure_correlation
from debiasrec.evaluation.exposure import row_correlations


class Estimate:
    name = "estimate"

    def __init__(self, table):
        self.table = table

    def predict_exposure(self, users, items):
        return self.table[users, items]


@pytest.fixture(scope="module")
def split() -> Split:
    return load("simulated", n_users=50, n_items=30, density=0.2).split("autodebias")


def test_rows_correlate_as_numpy_says_and_constant_rows_do_not():
    rng = np.random.default_rng(0)
    first, second = rng.random((5, 40)), 1e-3 * rng.random((5, 40))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    first[3] = 0.1
    values = row_correlations(first, second)
    assert np.isnan(values[3])
    np.testing.assert_allclose(np.delete(values, 3), np.delete(expected, 3), rtol=1e-12)


def test_small_exposures_keep_their_digits():
    spread = 1e-7 * np.arange(8.0)
    assert row_correlations((0.5 + spread)[None], (0.25 - spread)[None])[0] == pytest.approx(-1.0, abs=1e-8)


def test_the_truth_correlates_fully_and_users_without_spread_are_counted(split, monkeypatch):
    monkeypatch.setattr("debiasrec.evaluation.exposure.PAIRS_AT_ONCE", 100)
    truth = split.dataset.truth.exposure
    assert exposure_correlation(Estimate(2 * truth + 1), split).mean == pytest.approx(1.0)
    table = truth.copy()
    table[:7] = 0.3
    found = exposure_correlation(Estimate(table), split)
    assert (found.users, found.skipped) == (43, 7)
    assert found.mean == pytest.approx(1.0)
    assert np.isnan(exposure_correlation(Estimate(np.full_like(truth, 0.3)), split).mean)


def test_what_is_not_known_is_named(split):
    with pytest.raises(ValueError, match="estimate: a method without estimates"):
        exposure_correlation(type("Without", (), {"name": "estimate"})(), split)
    frame = split.dataset.user_ids.to_frame(name="user").assign(item=0, rating=[1, 5] * 25)
    real = from_frame(frame).split("interd")
    with pytest.raises(ValueError, match="true exposures are not known"):
        exposure_correlation(Estimate(split.dataset.truth.exposure), real)
