"""Propensity estimators against hand calculations and their check values."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from debiasrec.data import Dataset, Interactions, Split, load, load_simulated
from debiasrec.errors import DebiasRecError, DebiasRecWarning
from debiasrec.propensity import (
    PROPENSITIES,
    GivenPropensity,
    LogisticPropensity,
    NaiveBayesPropensity,
    PopularityPropensity,
    make_propensity,
)


@pytest.fixture(scope="module")
def split() -> Split:
    return load_simulated(n_users=200, n_items=60, density=0.1, uniform_per_user=8).split("autodebias")


@pytest.fixture
def hand_made() -> Split:
    """Four users, three items; B = {5, 5, 1}, uniform training part = {5, 1, 1, 1}."""
    biased = Interactions([0, 1, 2], [0, 0, 2], [5, 5, 1])
    uniform = Interactions([0, 1, 2, 3], [1, 1, 1, 1], [5, 1, 1, 1])
    data = Dataset(
        "hand",
        biased,
        uniform,
        4,
        3,
        pd.RangeIndex(4),
        pd.RangeIndex(3),
        (1.0, 5.0),
        4.0,
        given_propensities=np.linspace(0.0005, 1, 12).reshape(4, 3),
    )
    return Split(data, "hand", 0, train=biased, uniform_train=uniform, uniform_test=uniform)


def on_train(estimator, split: Split) -> np.ndarray:
    rows = split.train
    return estimator.predict(rows.users, rows.items, rows.ratings)


@pytest.mark.parametrize("levels", ["stars", "binary"])
def test_naive_bayes_by_hand(hand_made, levels):
    plain = NaiveBayesPropensity(levels=levels, smoothing=0.0).fit(hand_made)
    # P(r|o=1) P(o=1) / P(r): 5 stars 2/3 * 3/12 / (1/4), 1 star 1/3 * 3/12 / (3/4).
    np.testing.assert_allclose(on_train(plain, hand_made), [2 / 3, 2 / 3, 1 / 9])
    smooth = NaiveBayesPropensity(levels=levels).fit(hand_made)
    np.testing.assert_allclose(on_train(smooth, hand_made), [2 / 12 / (2 / 6), 2 / 12 / (2 / 6), 1 / 12 / (4 / 6)])


@pytest.mark.parametrize("levels", ["stars", "binary"])
def test_naive_bayes_check_value_inverse_propensities_sum_to_all_pairs_times_the_share_of_observed_values(
    split, levels
):
    data = split.dataset
    estimator = NaiveBayesPropensity(levels=levels, smoothing=0.0, clip_min=1e-12).fit(split)
    assert estimator.n_clipped == 0
    seen = np.unique(split.train.ratings)
    share = np.isin(split.uniform_train.ratings, seen).mean()
    if levels == "binary":
        share = 1.0
    assert (1 / on_train(estimator, split)).sum() == pytest.approx(data.n_users * data.n_items * share, rel=1e-12)


def test_naive_bayes_check_value_on_coat(data_root):
    split = load("coat", data_root / "coat", drop_overlap=True).split("autodebias")
    estimator = NaiveBayesPropensity(smoothing=0.0, clip_min=1e-12).fit(split)
    assert (1 / on_train(estimator, split)).sum() == pytest.approx(290 * 300, rel=1e-12)


def test_naive_bayes_clips_what_bayes_rule_leaves_above_one_and_counts_it(hand_made):
    rare = dataclasses.replace(hand_made, uniform_train=Interactions([0, 1], [1, 1], [1, 1]))
    estimator = NaiveBayesPropensity(smoothing=0.0).fit(rare)
    np.testing.assert_allclose(on_train(estimator, rare), [1.0, 1.0, 1 / 12])
    assert estimator.n_clipped == 2
    assert "2 clipped" in estimator.describe()
    assert np.isfinite(on_train(NaiveBayesPropensity().fit(rare), rare)).all()


def test_naive_bayes_needs_uniform_ratings_and_known_ratings(hand_made):
    with pytest.raises(DebiasRecError, match="need uniform ratings"):
        NaiveBayesPropensity().fit(dataclasses.replace(hand_made, uniform_train=None))
    fitted = NaiveBayesPropensity().fit(hand_made)
    with pytest.raises(DebiasRecError, match="ratings must be given, got None"):
        fitted.predict(np.array([0]), np.array([0]))
    with pytest.raises(DebiasRecError, match=r"1 ratings are no value of the data set \(1\.0, 5\.0\): 3"):
        fitted.predict(np.array([0]), np.array([0]), np.array([3.0]))


def design_of_all_pairs(data: Dataset, features: str) -> np.ndarray:
    users, items = np.divmod(np.arange(data.n_users * data.n_items), data.n_items)
    left, right = data.user_features[users].astype(float), data.item_features[items].astype(float)
    if features == "additive":
        return np.hstack([left, right])
    return (left[:, :, None] * right[:, None, :]).reshape(len(users), -1)


@pytest.mark.parametrize("features", ["crosses", "additive"])
def test_logistic_is_the_penalised_optimum_over_all_pairs(split, features):
    data = split.dataset
    users, items = np.divmod(np.arange(data.n_users * data.n_items), data.n_items)
    fitted = LogisticPropensity(features=features, l2=0.5, clip_min=1e-9, max_iter=5000).fit(split)
    q = fitted.predict(users, items)
    observed = np.zeros(len(q))
    observed[split.train.pairs(data.n_items)] = 1
    design = design_of_all_pairs(data, features)
    # At the optimum X'(q - o) + l2 w = 0 and the free intercept gives sum(q - o) = 0; X w + c = logit q gives w.
    assert (q - observed).sum() == pytest.approx(0, abs=0.05)
    weights = -design.T @ (q - observed) / 0.5
    logits = design @ weights
    offset = np.log(q / (1 - q)) - logits
    assert np.ptp(offset) < 0.05
    np.testing.assert_allclose(expit(logits + offset.mean()), q, rtol=0.05)


def test_logistic_with_weak_penalty_gives_each_cell_of_one_hot_crosses_its_share(split):
    data = split.dataset
    fitted = LogisticPropensity(l2=1e-6, max_iter=5000).fit(split)
    for user_class, item_class in ((0, 0), (2, 4), (4, 4)):
        users = np.flatnonzero(data.user_features[:, user_class])
        items = np.flatnonzero(data.item_features[:, item_class])
        share = (np.isin(split.train.users, users) & np.isin(split.train.items, items)).sum() / (
            len(users) * len(items)
        )
        assert fitted.predict(users[:1], items[:1])[0] == pytest.approx(share, rel=0.02)


def test_logistic_crosses_agree_with_the_published_propensities_of_coat(data_root):
    split = load("coat", data_root / "coat", drop_overlap=True).split("autodebias")
    given, fitted = GivenPropensity().fit(split), LogisticPropensity().fit(split)
    assert np.corrcoef(np.log(on_train(given, split)), np.log(on_train(fitted, split)))[0, 1] > 0.95


def test_logistic_warns_when_it_has_not_converged_and_needs_features(split):
    with pytest.warns(DebiasRecWarning, match="had not converged after 1 iterations"):
        LogisticPropensity(max_iter=1).fit(split)
    bare = dataclasses.replace(split, dataset=dataclasses.replace(split.dataset, item_features=None))
    with pytest.raises(DebiasRecError, match="simulated has no item features"):
        LogisticPropensity().fit(bare)


def test_popularity_by_hand_with_a_floor_for_items_without_a_rating(hand_made):
    estimator = PopularityPropensity(power=0.5, clip_min=0.01).fit(hand_made)
    np.testing.assert_allclose(estimator.predict([0, 0, 0], [0, 1, 2]), [1.0, 0.01, np.sqrt(0.5)])
    assert estimator.n_clipped == 0


def test_given_takes_the_data_sets_own_a_matrix_or_a_file(hand_made, tmp_path):
    own = GivenPropensity(clip_min=0.2).fit(hand_made)
    matrix = hand_made.dataset.given_propensities
    np.testing.assert_allclose(on_train(own, hand_made), [0.2, np.maximum(matrix[1, 0], 0.2), matrix[2, 2]])
    assert own.n_clipped == 1
    assert "1 clipped to [0.2, 1]" in own.describe()
    np.savetxt(tmp_path / "q.ascii", matrix)
    for source in (matrix, tmp_path / "q.ascii", str(tmp_path / "q.ascii")):
        np.testing.assert_allclose(
            on_train(GivenPropensity(matrix=source, clip_min=0.2).fit(hand_made), hand_made), on_train(own, hand_made)
        )


def test_given_refuses_wrong_shapes_zeros_missing_files_and_data_without_any(hand_made, tmp_path):
    with pytest.raises(DebiasRecError, match=r"must have shape \[4, 3\], got \[3, 4\]"):
        GivenPropensity(matrix=np.full((3, 4), 0.5)).fit(hand_made)
    with pytest.raises(DebiasRecError, match=r"in \(0, 1\], 12 entries are not"):
        GivenPropensity(matrix=np.zeros((4, 3))).fit(hand_made)
    with pytest.raises(DebiasRecError, match="no file of propensities"):
        GivenPropensity(matrix=tmp_path / "none").fit(hand_made)
    bare = dataclasses.replace(hand_made, dataset=dataclasses.replace(hand_made.dataset, given_propensities=None))
    with pytest.raises(DebiasRecError, match="hand comes without propensities"):
        GivenPropensity().fit(bare)


@pytest.mark.parametrize("name", sorted(PROPENSITIES))
def test_every_estimator_is_float64_in_range_and_checks_what_is_asked(split, name):
    estimator = make_propensity(name)
    rows = split.train
    for ask in (lambda: estimator.predict(rows.users, rows.items, rows.ratings), estimator.describe):
        with pytest.raises(DebiasRecError, match=r"is not fitted: call fit\(split\) first"):
            ask()
    assert estimator.fit(split) is estimator
    q = on_train(estimator, split)
    assert q.dtype == np.float64
    assert q.min() >= estimator.clip_min
    assert q.max() <= 1
    assert f"{len(rows):,} training ratings" in estimator.describe()
    assert repr(estimator).startswith(type(estimator).__name__)
    one = np.array([0]), np.array([0]), np.array([5.0])
    with pytest.raises(DebiasRecError, match=r"items must lie in 0\.\.59, 1 do not: 60"):
        estimator.predict(one[0], np.array([60]), one[2])
    with pytest.raises(DebiasRecError, match="users must be integers"):
        estimator.predict(np.array([0.5]), one[1], one[2])
    with pytest.raises(DebiasRecError, match="one length"):
        estimator.predict(np.array([0, 1]), one[1], one[2])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("popularity", {"clip_min": 0.0}),
        ("popularity", {"power": 0.0}),
        ("naive_bayes", {"levels": "star"}),
        ("naive_bayes", {"smoothing": -1.0}),
        ("logistic", {"features": "cross"}),
        ("logistic", {"l2": 0.0}),
        ("logistic", {"max_iter": 0}),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name, options):
    with pytest.raises(DebiasRecError, match=f"{next(iter(options))} must"):
        make_propensity(name, **options)


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(DebiasRecError, match="'naive_bayse'; did you mean 'naive_bayes'"):
        make_propensity("naive_bayse")
    with pytest.raises(DebiasRecError, match="option of propensity estimator popularity 'powr'; did you mean 'power'"):
        make_propensity("popularity", powr=1)
    with pytest.raises(DebiasRecError, match="unknown option"):
        make_propensity("popularity", n_clipped=1)


def test_naive_bayes_over_more_values_than_uniform_ratings_warns():
    ratings = np.linspace(1, 5, 400, dtype=np.float32)
    pairs = np.arange(400)
    biased = Interactions(pairs // 20, pairs % 20, ratings)
    uniform = Interactions(pairs[:40] // 20, pairs[:40] % 20, ratings[::10])
    index = pd.RangeIndex(20)
    data = Dataset("continuous", biased, uniform, 20, 20, index, index, (1.0, 5.0), 4.0)
    split = Split(data, "own", 0, train=biased, uniform_train=uniform)
    with pytest.warns(DebiasRecWarning, match="400 rating values from 40 uniform ratings"):
        NaiveBayesPropensity().fit(split)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NaiveBayesPropensity(levels="binary").fit(split)
