from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from python_api.methods.click_cases import click_split

from debiasrec import methods
from debiasrec.data import Dataset, Interactions, Split, load


@pytest.fixture(scope="session")
def split() -> Split:
    """A small simulated set with every part."""
    return load("simulated", n_users=120, n_items=60, density=0.2, uniform_per_user=20, seed=3).split("interd", 0)


@pytest.fixture(scope="session")
def suited(split):
    """suited(name) -> a small split of the kind that the method of that name trains on."""
    clicks = click_split()
    return lambda name: clicks if methods.REGISTRY[name].sequential else split


@pytest.fixture
def hand():
    """hand(ratings) -> a split that trains on the finite entries of a [U, I] array of stars.

    propensities [U, I] become the ones that ship with the data.
    """

    def make(ratings, propensities=None) -> Split:
        ratings = np.asarray(ratings, dtype=np.float64)
        users, items = np.nonzero(np.isfinite(ratings))
        train = Interactions(users, items, ratings[users, items])
        ids = [pd.RangeIndex(n) for n in ratings.shape]
        given = None if propensities is None else np.asarray(propensities, dtype=np.float64)
        data = Dataset("hand", train, None, *ratings.shape, *ids, (1.0, 5.0), 4.0, given_propensities=given)
        return Split(data, "hand", 0, train=train)

    return make


@pytest.fixture
def made():
    """made(name, **options) -> a method of that name, with those of the options that it has."""

    def make(name, **options) -> methods.Method:
        known = methods.REGISTRY[name]._get_param_names()
        return methods.make(name, **{option: value for option, value in options.items() if option in known})

    return make
