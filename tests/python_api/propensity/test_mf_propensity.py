from __future__ import annotations

import numpy as np
import pytest

from debiasrec.data import load
from debiasrec.propensity import make_propensity


@pytest.fixture(scope="module")
def split():
    return load("simulated").split("autodebias", 0)


def test_the_factor_model_finds_more_of_the_exposure_than_features_and_popularity_do(split):
    data = split.dataset
    pairs = np.divmod(np.arange(data.n_users * data.n_items), data.n_items)
    fit = {
        name: np.corrcoef(make_propensity(name).fit(split).predict(*pairs), data.truth.exposure.ravel())[0, 1]
        for name in ("popularity", "logistic", "mf")
    }
    assert fit["mf"] > fit["logistic"] + 0.05
    assert fit["mf"] > fit["popularity"] + 0.05


def test_inverse_propensities_of_the_rated_pairs_sum_to_all_pairs(split):
    data, train = split.dataset, split.train
    propensities = make_propensity("mf").fit(split).predict(train.users, train.items)
    assert (1 / propensities).sum() == pytest.approx(data.n_users * data.n_items, rel=0.1)
    assert propensities.mean() == pytest.approx((data.truth.exposure**2).mean() / data.truth.exposure.mean(), rel=0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"factors": 0}, "factors must be"), ({"l2": -1.0}, "l2 must be >= 0"), ({"lr": 0.0}, "lr must be > 0")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_propensity("mf", **options)
