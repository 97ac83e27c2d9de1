"""Simulated ratings with known relevance and known exposure, made from a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ..errors import DebiasRecError
from .dataset import Dataset, Interactions, Truth
from .validation import is_whole

STARS = np.arange(1.0, 6.0)
CUTS = np.array([-1.0, -0.3, 0.5, 1.2])
RATING_APPEAL = np.array([1.0, 0.2, 0.2, 1.0, 1.0])
SPREADS = np.array([0.4, 2.5])
HIDDEN_SHARE = 0.5  # of the variance of a rating's noise, where there is a hidden cause
THRESHOLD = 4.0
N_CLASSES = 5


def load_simulated(
    *,
    n_users: int = 1000,
    n_items: int = 300,
    density: float = 0.08,
    uniform_per_user: int = 15,
    latent_factors: int = 4,
    confounding: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Simulate users who choose what they rate, and a uniform sample of the same users' ratings.

    Ratings, an ordered probit per pair (all draws independent):

        m[u,i] = -0.2 + a[u] + b[i] + p[u].q[i]      a ~ N(0, 0.3^2), b ~ N(0, 0.2^2), p.q of variance 0.3
        z[u,i] = m[u,i] + s[i] * e[u,i]              e ~ N(0, 1); s = 0.4 (bland item) or 2.5 (divisive), one in two
        r[u,i] = 1 + #{cuts < z[u,i]}                cuts = -1, -0.3, 0.5, 1.2
        relevance[u,i] = P(r >= 4) = 1 - Phi((0.5 - m) / s)
        expected_rating[u,i] = 1 + sum over cuts of 1 - Phi((cut - m) / s)

    Self-selection, missing not at random: people rate what they liked or hated, active people rate more, and popular
    items are rated more,

        exposure[u,i] = min(1, c * activity[u] * popularity[i] * appeal[r[u,i]])
        log activity ~ N(0, 0.5^2), log popularity ~ N(0.5 b[i], 0.4^2), appeal = 1, 0.2, 0.2, 1, 1 for 1..5 stars

    with c such that the mean of exposure is ``density``. The pair is a biased row with that probability. Lukewarm
    ratings rarely show: a bland item looks better in the biased rows than it is, and the order of bland and divisive
    items is wrong there. Each user also rates ``uniform_per_user`` items drawn uniformly without replacement; a pair
    in both parts has the same rating.

    Features are one-hot quintiles of activity (users) and of popularity (items).

    Confounding: with ``confounding`` = k > 0 the exposure does not follow the rating but a hidden cause h[u,i] behind
    both, a passing circumstance (an offer, a mood) that is a part of the rating's noise and decides whether some users
    rate,

        e[u,i] = sqrt(0.5) h[u,i] + sqrt(0.5) e'[u,i]       h, e' ~ N(0, 1)
        exposure[u,i] = min(1, c * activity[u] * popularity[i] * exp(k v[u] d[i] h[u,i]))
        v = 0 or 1 (a susceptible user), d = -1 or 1 (rated under bad or good circumstances), all with probability 1/2

    Ratings, relevance and expected ratings are those of k = 0; only who rates what changes. The chosen ratings of
    susceptible users are too high for items of d = 1 and too low for those of d = -1. Neither the rating nor any
    feature tells h: over all items its effects cancel, so propensities from them miss it.

    Args:
        n_users: >= 2.
        n_items: >= 2.
        density: share of all pairs that users rate by choice on average, in (0, 0.3].
        uniform_per_user: 1..n_items.
        latent_factors: dimension of p and q, >= 1.
        confounding: k, in [0, 5].
        seed: >= 0.

    Returns:
        A data set with ``truth``; ``given_propensities`` are the exposure probabilities as one would state them without
        knowledge of a hidden cause (the true ones where there is none).

    Raises:
        DebiasRecError: an option outside its range.
    """
    _check_options(n_users, n_items, density, uniform_per_user, latent_factors, confounding, seed)
    streams = np.random.SeedSequence(seed).spawn(5)
    preference, item_bias, spread = _preferences(n_users, n_items, latent_factors, np.random.default_rng(streams[0]))
    noise = np.random.default_rng(streams[1]).standard_normal((n_users, n_items))
    level = np.searchsorted(CUTS, preference + spread * noise)
    above = ndtr((preference[:, :, None] - CUTS) / spread[None, :, None])

    rng = np.random.default_rng(streams[2])
    activity = np.exp(0.5 * rng.standard_normal(n_users))
    popularity = np.exp(0.4 * rng.standard_normal(n_items) + 0.5 * item_bias)
    stated = activity[:, None] * popularity * (1.0 if confounding else RATING_APPEAL[level])
    pull = _hidden_pull(noise, confounding, np.random.default_rng(streams[4])) if confounding else 1.0
    exposure = _scaled(stated * pull, density)
    users, items = np.nonzero(rng.random((n_users, n_items)) < exposure)

    rng = np.random.default_rng(streams[3])
    drawn = rng.random((n_users, n_items)).argsort(axis=1)[:, :uniform_per_user]
    hidden = f" with a hidden cause of strength {confounding:g}" if confounding else ""
    uniform_users, uniform_items = np.repeat(np.arange(n_users), uniform_per_user), np.sort(drawn, axis=1).ravel()
    return Dataset(
        name="simulated",
        biased=Interactions(users, items, STARS[level[users, items]]),
        uniform=Interactions(uniform_users, uniform_items, STARS[level[uniform_users, uniform_items]]),
        n_users=n_users,
        n_items=n_items,
        user_ids=pd.RangeIndex(n_users),
        item_ids=pd.RangeIndex(n_items),
        rating_scale=(1.0, 5.0),
        threshold=THRESHOLD,
        user_features=_quintiles(activity),
        item_features=_quintiles(popularity),
        given_propensities=_scaled(stated, density),
        truth=Truth(relevance=above[:, :, 2], exposure=exposure, expected_rating=1.0 + above.sum(axis=2)),
        notes=(f"simulated from seed {seed}{hidden}; relevance and exposure are known",),
    )


def _preferences(
    n_users: int, n_items: int, latent_factors: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    user_bias = 0.3 * rng.standard_normal(n_users)
    item_bias = 0.2 * rng.standard_normal(n_items)
    user_factors = rng.standard_normal((n_users, latent_factors))
    item_factors = rng.standard_normal((n_items, latent_factors))
    match = user_factors @ item_factors.T * np.sqrt(0.3 / latent_factors)
    spread = rng.choice(SPREADS, n_items)
    return -0.2 + user_bias[:, None] + item_bias + match, item_bias, spread


def _hidden_pull(noise: np.ndarray, confounding: float, rng: np.random.Generator) -> np.ndarray:
    """exp(k v[u] d[i] h[u,i]); h is drawn given the noise e, with which it correlates by the root of its share."""
    n_users, n_items = noise.shape
    hidden = np.sqrt(HIDDEN_SHARE) * noise + np.sqrt(1 - HIDDEN_SHARE) * rng.standard_normal(noise.shape)
    susceptible, direction = rng.integers(2, size=(n_users, 1)), rng.choice([-1.0, 1.0], n_items)
    return np.exp(confounding * susceptible * direction * hidden)


def _scaled(weight: np.ndarray, density: float) -> np.ndarray:
    """min(1, c * weight) with mean ``density``: Newton steps on c, convex and increasing below the cap."""
    scale = density / weight.mean()
    for _ in range(50):
        exposure = np.minimum(1.0, scale * weight)
        gap = density - exposure.mean()
        if gap < 1e-12:
            break
        scale += gap / (weight * (exposure < 1.0)).mean()
    return exposure


def _quintiles(values: np.ndarray) -> np.ndarray:
    rank = values.argsort().argsort()
    return np.eye(N_CLASSES, dtype=np.float32)[rank * N_CLASSES // len(values)]


def _check_options(
    n_users: int,
    n_items: int,
    density: float,
    uniform_per_user: int,
    latent_factors: int,
    confounding: float,
    seed: int,
) -> None:
    for name, value, low in (
        ("n_users", n_users, 2),
        ("n_items", n_items, 2),
        ("uniform_per_user", uniform_per_user, 1),
        ("latent_factors", latent_factors, 1),
        ("seed", seed, 0),
    ):
        if not is_whole(value) or value < low:
            raise DebiasRecError(f"{name} must be a whole number >= {low}, got {value!r}")
    if not 0 < density <= 0.3:
        raise DebiasRecError(f"density must lie in (0, 0.3], got {density:g}")
    if not 0 <= confounding <= 5:
        raise DebiasRecError(f"confounding must lie in [0, 5], got {confounding:g}")
    if uniform_per_user > n_items:
        raise DebiasRecError(f"uniform_per_user must lie in 1..n_items = 1..{n_items}, got {uniform_per_user}")
