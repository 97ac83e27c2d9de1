"""The simulated set keeps its own formulas."""

from __future__ import annotations

import numpy as np
import pytest

from debiasrec.data import load, load_simulated
from debiasrec.errors import DebiasRecError


@pytest.fixture(scope="module")
def data():
    return load("simulated")


def test_the_same_seed_gives_the_same_data_and_another_seed_another():
    small = {"n_users": 30, "n_items": 20, "uniform_per_user": 4}
    assert load_simulated(**small).fingerprint() == load_simulated(**small).fingerprint()
    assert load_simulated(**small).fingerprint() != load_simulated(**small, seed=1).fingerprint()


def test_exposure_is_the_bernoulli_probability_of_the_sample(data):
    exposure = data.truth.exposure
    assert exposure.mean() == pytest.approx(0.08, abs=1e-9)
    assert exposure.min() > 0
    assert exposure.max() <= 1
    rated = np.zeros((data.n_users, data.n_items))
    rated[data.biased.users, data.biased.items] = 1
    for low, high in ((0, 0.03), (0.03, 0.08), (0.08, 0.2), (0.2, 1.01)):
        cell = (exposure >= low) & (exposure < high)
        deviation = np.sqrt((exposure * (1 - exposure))[cell].sum())
        assert abs(rated[cell].sum() - exposure[cell].sum()) < 4 * deviation


def test_relevance_and_expected_rating_are_those_of_the_uniform_sample(data):
    rows, truth = data.uniform, data.truth
    relevance = truth.relevance[rows.users, rows.items]
    positive = data.positives(rows.ratings)
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 1.01)):
        cell = (relevance >= low) & (relevance < high)
        deviation = np.sqrt((relevance * (1 - relevance))[cell].sum())
        assert abs(positive[cell].sum() - relevance[cell].sum()) < 4 * deviation
    residual = rows.ratings - truth.expected_rating[rows.users, rows.items]
    assert abs(residual.mean()) < 4 * residual.std() / np.sqrt(len(residual))


def test_selection_depends_on_the_rating_so_biased_shares_differ_from_uniform_ones(data):
    biased, uniform = (data.positives(part.ratings).mean() for part in (data.biased, data.uniform))
    assert biased > uniform + 0.1


def test_weighting_by_the_true_exposure_recovers_the_share_of_positives_and_the_plain_share_does_not(data):
    rows, truth = data.biased, data.truth
    positive = data.positives(rows.ratings)
    inverse = 1 / truth.exposure[rows.users, rows.items]
    weighted = (positive * inverse).sum() / inverse.sum()
    assert weighted == pytest.approx(truth.relevance.mean(), abs=0.02)
    assert positive.mean() > truth.relevance.mean() + 0.1


def test_every_user_rates_as_many_distinct_uniform_items_with_ratings_that_agree_with_the_biased_ones(data):
    counts = np.bincount(data.uniform.users, minlength=data.n_users)
    assert (counts == 15).all()
    ratings = dict(zip(data.biased.pairs(data.n_items), data.biased.ratings, strict=True))
    shared = [
        (ratings[key], value)
        for key, value in zip(data.uniform.pairs(300), data.uniform.ratings, strict=True)
        if key in ratings
    ]
    assert shared
    assert all(biased == uniform for biased, uniform in shared)


def test_features_are_one_hot_and_given_propensities_are_the_exposure(data):
    for features in (data.user_features, data.item_features):
        assert features.shape[1] == 5
        assert (features.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(data.given_propensities, data.truth.exposure)


@pytest.fixture(scope="module")
def confounded():
    return load("simulated", confounding=1.0)


def test_a_hidden_cause_changes_who_rates_and_no_rating(data, confounded):
    for field in ("relevance", "expected_rating"):
        np.testing.assert_array_equal(getattr(data.truth, field), getattr(confounded.truth, field))
    np.testing.assert_array_equal(data.uniform.ratings, confounded.uniform.ratings)
    assert confounded.truth.exposure.mean() == pytest.approx(0.08, abs=1e-9)
    assert len(confounded.biased) == pytest.approx(len(data.biased), rel=0.05)


def test_weights_without_the_hidden_cause_leave_items_biased_and_the_true_exposure_does_not(data, confounded):
    def spread_of_items(dataset, exposure):
        """Variance over items of the weighted mean residual, in units of what chance alone gives."""
        rows = dataset.biased
        residual = rows.ratings - dataset.truth.expected_rating[rows.users, rows.items]
        weight = 1 / exposure[rows.users, rows.items]
        total = np.bincount(rows.items, weights=weight * residual, minlength=300)
        chance = np.bincount(rows.items, weights=(weight * residual) ** 2, minlength=300)
        return np.mean(total**2) / np.mean(chance)

    # Chance gives 1, with a standard deviation of about sqrt(2 / 300) and more, since the weights are skewed.
    assert spread_of_items(data, data.given_propensities) < 1.5
    assert spread_of_items(confounded, confounded.truth.exposure) < 1.5
    assert spread_of_items(confounded, confounded.given_propensities) > 3


def test_the_rating_does_not_tell_the_hidden_cause(data, confounded):
    def exposure_by_rating(dataset):
        """How often the rating is chosen, over how often it occurs."""
        shares = [np.bincount(part.ratings.astype(int), minlength=6)[1:] for part in (dataset.biased, dataset.uniform)]
        return (shares[0] / shares[0].sum()) / (shares[1] / shares[1].sum())

    assert np.ptp(exposure_by_rating(confounded)) < 0.25
    assert np.ptp(exposure_by_rating(data)) > 1


def test_features_do_not_tell_the_hidden_cause(data, confounded):
    np.testing.assert_array_equal(data.user_features, confounded.user_features)
    np.testing.assert_array_equal(data.item_features, confounded.item_features)


def test_without_confounding_no_hidden_cause_is_drawn(monkeypatch):
    monkeypatch.setattr("debiasrec.data.simulated._hidden_pull", lambda *given: pytest.fail("drawn"))
    load("simulated", n_users=10, n_items=8, density=0.2, uniform_per_user=2)


@pytest.mark.parametrize(
    "option",
    [
        {"n_users": 1},
        {"n_items": 0},
        {"density": 0.5},
        {"density": 0},
        {"uniform_per_user": 301},
        {"seed": -1},
        {"confounding": -1},
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option):
    with pytest.raises(DebiasRecError, match=f"{next(iter(option))} must"):
        load("simulated", **option)
