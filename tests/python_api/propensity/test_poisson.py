"""Poisson factorisation of clicks."""

from __future__ import annotations

import numpy as np
import pytest

from debiasrec.data import Interactions
from debiasrec.errors import DebiasRecError
from debiasrec.propensity.poisson import poisson_factorization


@pytest.fixture(scope="module")
def clicks():
    """Two blocks of 20 users and 15 items with 60% clicks inside, 2% outside."""
    generator = np.random.default_rng(1)
    same = (np.arange(40)[:, None] < 20) == (np.arange(30) < 15)
    users, items = np.nonzero(generator.random((40, 30)) < np.where(same, 0.6, 0.02))
    return Interactions(users, items, np.ones(len(users)))


def test_the_bound_never_falls(clicks):
    fitted = poisson_factorization(clicks, 40, 30, factors=4, tolerance=0.0, max_iterations=60)
    assert len(fitted.bounds) > 5
    assert (np.diff(fitted.bounds) > -1e-6 * abs(fitted.bounds[-1])).all()


def test_the_rates_find_the_blocks_and_add_up_to_the_clicks(clicks):
    fitted = poisson_factorization(clicks, 40, 30, factors=2)
    users, items = (axis.ravel() for axis in np.mgrid[:40, :30])
    rates = fitted.rates(users, items)
    same = (users < 20) == (items < 15)
    assert rates[same].mean() == pytest.approx(0.6, abs=0.1)
    assert rates[~same].mean() < 0.1
    assert rates.sum() == pytest.approx(len(clicks), rel=0.1)


def test_the_seed_decides_and_factors_are_checked(clicks):
    first, again, other = (poisson_factorization(clicks, 40, 30, factors=3, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.users, again.users)
    assert not np.array_equal(first.users, other.users)
    with pytest.raises(DebiasRecError, match="factors must be a whole number, at least 1, got 0"):
        poisson_factorization(clicks, 40, 30, factors=0)
