"""EM of the mixture of multinomials against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from debiasrec import methods
from debiasrec.methods.cpt_v import _Mixture


@pytest.fixture
def mixture(hand):
    ratings = np.full((4, 3), np.nan)
    ratings[0, 0], ratings[0, 2], ratings[1, 1], ratings[2, 0], ratings[2, 1] = 5.0, 1.0, 3.0, 1.0, 5.0
    mixture = _Mixture(hand(ratings), clusters=2, concentration=3.0, seed=1)
    mixture.theta = np.array([0.3, 0.7])
    return mixture, ratings


def brute_force(mixture, ratings):
    """Posteriors, log likelihood and expected counts, by summing over every completion of every user's row."""
    values, levels = mixture.values, range(len(mixture.values))
    clusters, items = len(mixture.theta), ratings.shape[1]
    posterior, likelihood = np.zeros((len(ratings), clusters)), 0.0
    counts, unseen = np.zeros_like(mixture.beta), np.zeros(len(values))
    for user, row in enumerate(ratings):
        seen = np.isfinite(row)
        known = {item: int(np.searchsorted(values, row[item])) for item in np.nonzero(seen)[0]}
        weights = []
        for k in range(clusters):
            for full in itertools.product(levels, repeat=items):
                if any(full[item] != level for item, level in known.items()):
                    continue
                weight = mixture.theta[k]
                for item, level in enumerate(full):
                    weight *= mixture.beta[item, level, k] * (
                        mixture.mu[level] if seen[item] else 1 - mixture.mu[level]
                    )
                weights.append((k, full, weight))
        total = sum(weight for *_, weight in weights)
        likelihood += np.log(total)
        for k, full, weight in weights:
            posterior[user, k] += weight / total
            for item, level in enumerate(full):
                counts[item, level, k] += weight / total
                unseen[level] += 0 if seen[item] else weight / total
    return posterior, likelihood, counts, unseen


def test_the_two_steps_equal_enumeration(mixture):
    mixture, ratings = mixture
    posterior, likelihood, counts, unseen = brute_force(mixture, ratings)
    penalty = sum(np.log(x).sum() for x in (mixture.theta, mixture.beta, mixture.mu, 1 - mixture.mu))
    assert mixture.expectation() == pytest.approx(likelihood + 2.0 * penalty, rel=1e-12)
    np.testing.assert_allclose(mixture.q, posterior, rtol=1e-12)
    mixture.maximisation(learn_mu=True)
    expected = counts + 2.0
    np.testing.assert_allclose(mixture.beta, expected / expected.sum(1, keepdims=True), rtol=1e-12)
    theta = posterior.sum(0) + 2.0
    np.testing.assert_allclose(mixture.theta, theta / theta.sum(), rtol=1e-12)
    shown = np.array([(ratings == value).sum() for value in mixture.values])
    np.testing.assert_allclose(mixture.mu, (2.0 + shown) / (4.0 + shown + unseen), rtol=1e-12)


@pytest.mark.parametrize("missingness", ["em", "uniform"])
def test_no_iteration_lowers_the_log_posterior(split, missingness):
    method = methods.make("cpt_v", clusters=4, iterations=60, missingness=missingness).fit(split)
    steps = np.diff(method.log_posterior_)
    assert len(steps) >= 20
    assert steps.min() >= -1e-9 * abs(method.log_posterior_[-1])


def test_scores_are_expected_ratings_in_the_coding_of_the_target(split):
    test = split.uniform_test
    stars = methods.make("cpt_v", target="stars").fit(split).predict(test.users, test.items)
    assert ((stars > 1.0) & (stars < 5.0)).all()
    signed = methods.make("cpt_v", target="signed").fit(split).predict(test.users, test.items)
    assert ((signed > -1.0) & (signed < 1.0)).all()
    assert np.corrcoef(stars, signed)[0, 1] > 0.7


def test_a_fixed_missingness_stays_and_needs_uniform_ratings(split, hand):
    method = methods.make("cpt_v", missingness="uniform", iterations=5).fit(split)
    assert np.array_equal(method.mu_, _Mixture(split, 1, 2.0, 0).mu)
    with pytest.raises(ValueError, match='missingness="uniform" needs uniform training ratings'):
        methods.make("cpt_v", missingness="uniform").fit(hand([[5.0, 1.0], [np.nan, 2.0]]))


def test_em_recovers_the_missingness_of_a_mixture(hand):
    """Two clusters with sharp tastes and 10 to 60 % shown by value: the estimates come near."""
    rng = np.random.default_rng(0)
    taste = rng.dirichlet([0.15] * 5, (2, 40))
    stars = np.empty((1500, 40))
    for user, cluster in enumerate(rng.integers(2, size=1500)):
        stars[user] = [1 + rng.choice(5, p=taste[cluster, item]) for item in range(40)]
    mu = np.array([0.1, 0.2, 0.3, 0.45, 0.6])
    stars[rng.random(stars.shape) > mu[stars.astype(int) - 1]] = np.nan
    method = methods.make("cpt_v", clusters=2, iterations=300).fit(hand(stars))
    np.testing.assert_allclose(method.mu_, mu, rtol=0.25)
