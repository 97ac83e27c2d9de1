"""EM of ExpoMF: its steps by hand, its objective, its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec import methods
from debiasrec.methods.expomf import _Exposed


@pytest.fixture
def state(hand):
    ratings = np.full((5, 4), np.nan)
    ratings[0, 0], ratings[1, 0], ratings[2, 3], ratings[3, 1], ratings[4, 2] = 5.0, 4.0, 5.0, 1.0, 4.0
    method = methods.make("expomf", factors=2, precision=2.0, l2=0.3)
    state = _Exposed(hand(ratings), method, "cpu")
    rng = np.random.default_rng(0)
    state.users, state.items = torch.tensor(rng.normal(size=(5, 2))), torch.tensor(rng.normal(size=(4, 2)))
    state.exposure = torch.tensor([0.1, 0.5, 0.3, 0.8], dtype=torch.float64)
    return state, ratings >= 4


def posteriors(state, clicks):
    density = np.sqrt(2.0 / (2 * np.pi)) * np.exp(-((state.users @ state.items.T).numpy() ** 2))
    mu = state.exposure.numpy()
    return np.where(clicks, 1.0, mu * density / (mu * density + 1 - mu)), density


def test_every_step_by_hand(state):
    state, clicks = state
    a, density = posteriors(state, clicks)
    np.testing.assert_allclose(state.posterior(slice(None)), a, rtol=1e-12)
    scores, mu = (state.users @ state.items.T).numpy(), state.exposure.numpy()
    clicked = mu * np.sqrt(1 / np.pi) * np.exp(-((1 - scores) ** 2))
    likelihood = np.log(np.where(clicks, clicked, mu * density + 1 - mu)).sum()
    squares = float(state.users.square().sum() + state.items.square().sum())
    assert state.log_posterior() == pytest.approx(likelihood - 0.15 * squares, rel=1e-12)

    for side in ("users", "items"):
        a, _ = posteriors(state, clicks)
        other = {"users": state.items, "items": state.users}[side].numpy()
        weights, target = (a, clicks) if side == "users" else (a.T, clicks.T)
        expected = [
            np.linalg.solve((other * w[:, None]).T @ other + 0.15 * np.eye(2), (w * y) @ other)
            for w, y in zip(weights, target, strict=True)
        ]
        state.solve(side)
        np.testing.assert_allclose(getattr(state, side), expected, rtol=1e-10)

    a, _ = posteriors(state, clicks)
    state.update_exposure()
    np.testing.assert_allclose(state.exposure, a.mean(0), rtol=1e-12)


def test_blocks_do_not_change_the_steps(state, monkeypatch):
    state, _ = state
    start = state.users, state.items, state.exposure
    found = []
    for cells in (1 << 20, 1):
        monkeypatch.setattr("debiasrec.methods.expomf.CELLS_AT_ONCE", cells)
        state.users, state.items, state.exposure = start
        for side in ("users", "items"):
            state.solve(side)
        state.update_exposure()
        found.append((state.users, state.items, state.exposure, state.log_posterior()))
    for whole, cut in zip(*found, strict=True):
        np.testing.assert_allclose(cut, whole, rtol=1e-10)


@pytest.mark.parametrize("factors", [3, 12])
def test_no_iteration_lowers_the_log_posterior_and_the_published_factor_does(split, factors):
    settings = {"factors": factors, "iterations": 12}
    right = methods.make("expomf", **settings).fit(split)
    assert np.diff(right.log_posterior_).min() > 0
    published = methods.make("expomf", published=True, **settings).fit(split)
    assert np.diff(published.log_posterior_).min() < -1
    assert published.exposure_.mean() > 2 * right.exposure_.mean()


def test_exposures_are_estimates_by_item(split):
    method = methods.make("expomf", factors=4).fit(split)
    clicked = split.train.items[split.dataset.positives(split.train.ratings)]
    shares = np.bincount(clicked, minlength=split.dataset.n_items) / split.dataset.n_users
    assert (method.exposure_ >= shares - 1e-12).all()
    assert np.corrcoef(method.exposure_, shares)[0, 1] > 0.9
    assert method.exposures_.shape == (10, split.dataset.n_items)
    assert np.array_equal(method.predict_exposure([0, 5], [3, 3]), method.exposure_[[3, 3]])
