from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from debiasrec.data import Dataset, Interactions, Split
from debiasrec.propensity import make_propensity, propensity_statistics

BIASED = np.array([0.5, 0.25, 0.8])
UNIFORM = np.array([0.4, 0.1])


@pytest.fixture
def split() -> Split:
    train = Interactions([0, 0, 1], [0, 1, 1], [5.0, 1.0, 5.0])
    uniform = Interactions([1, 2], [2, 0], [4.0, 2.0])
    ids = pd.RangeIndex(3), pd.RangeIndex(4)
    given = np.full((3, 4), 0.9)
    given[train.users, train.items], given[uniform.users, uniform.items] = BIASED, UNIFORM
    data = Dataset("hand", train, uniform, 3, 4, *ids, (1.0, 5.0), 4.0, given_propensities=given)
    return Split(data, "hand", 0, train=train, uniform_train=uniform)


def test_scaled_propensities_sum_to_all_pairs_and_have_the_statistics_by_hand(split):
    statistics = propensity_statistics(make_propensity("given").fit(split), split)
    scale = (1 / BIASED).sum() / 12
    assert statistics.scale == pytest.approx(scale)
    assert (1 / (scale * BIASED)).sum() == pytest.approx(12)
    first, second = scale * UNIFORM
    assert statistics.variance == pytest.approx((first - second) ** 2 / 2)
    assert statistics.mean_inverse_square == pytest.approx((1 / first**2 + 1 / second**2) / 2)
    assert statistics.mean_by_rating.to_dict() == pytest.approx({1.0: scale * 0.25, 5.0: scale * 0.65})


def test_equal_propensities_have_no_variance_and_the_squared_inverse_density(split):
    propensity = make_propensity("given", matrix=np.full((3, 4), 0.37)).fit(split)
    statistics = propensity_statistics(propensity, split)
    assert statistics.variance == pytest.approx(0.0, abs=1e-15)
    assert statistics.mean_inverse_square == pytest.approx((12 / 3) ** 2)


def test_statistics_need_two_uniform_ratings(split):
    bare = Split(split.dataset, "bare", 0, train=split.train)
    with pytest.raises(ValueError, match="two uniform training ratings, which the split 'bare' does not have"):
        propensity_statistics(make_propensity("given").fit(bare), bare)
