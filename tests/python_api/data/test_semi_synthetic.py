"""Clicks sampled from fitted exposure and relevance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from debiasrec.data import Dataset, load, semi_synthetic
from debiasrec.data.logistic_mf import logistic_mf
from debiasrec.data.semisynthetic import first_busy
from debiasrec.errors import DebiasRecError


@pytest.fixture(scope="module")
def ratings() -> Dataset:
    return load("simulated", n_users=200, n_items=80, density=0.15)


@pytest.fixture(scope="module")
def sampled(ratings) -> Dataset:
    return semi_synthetic(ratings, factors=4)


def test_clicks_are_exposed_and_relevant_at_the_rates_of_the_truth(sampled):
    truth, shape = sampled.truth, (sampled.n_users, sampled.n_items)
    relevant = sampled.uniform.ratings.reshape(shape)
    clicks = np.zeros(shape)
    clicks[sampled.biased.users, sampled.biased.items] = sampled.biased.ratings
    assert np.isin(relevant, (0, 1)).all()
    assert (clicks <= relevant).all()
    for drawn, rate in ((relevant, truth.relevance), (clicks, truth.exposure * truth.relevance)):
        deviation = (drawn - rate).sum() / np.sqrt((rate * (1 - rate)).sum())
        assert abs(deviation) < 4


def test_exposure_follows_who_rated_and_relevance_who_liked(ratings, sampled):
    rated = np.zeros((200, 80))
    rated[ratings.biased.users, ratings.biased.items] = 1
    assert sampled.truth.exposure.mean() == pytest.approx(rated.mean(), rel=0.1)
    assert np.corrcoef(sampled.truth.exposure.mean(0), rated.mean(0))[0, 1] > 0.95
    assert np.corrcoef(sampled.truth.exposure.mean(1), rated.mean(1))[0, 1] > 0.95
    liked = ratings.positives(ratings.biased.ratings).sum() / rated.size
    assert sampled.truth.relevance.mean() == pytest.approx(liked, rel=0.1)


def test_the_seed_decides_everything(ratings, sampled):
    again, other = semi_synthetic(ratings, factors=4), semi_synthetic(ratings, factors=4, seed=1)
    assert again.fingerprint() == sampled.fingerprint()
    assert np.array_equal(again.truth.exposure, sampled.truth.exposure)
    assert other.fingerprint() != sampled.fingerprint()


def test_logistic_factors_recover_a_block_pattern():
    groups = np.arange(60) % 2
    positive = np.flatnonzero((groups[:, None] == groups[:40]).ravel())
    fitted = logistic_mf(positive, 60, 40, factors=2, l2=0.1, epochs=150, seed=0)
    assert fitted[groups[:, None] == groups[:40]].min() > 0.9
    assert fitted[groups[:, None] != groups[:40]].max() < 0.1


def test_movielens_file_is_read(tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 30, 500, replace=False)
    lines = [f"{p // 30 + 1}\t{p % 30 + 1}\t{rng.integers(1, 6)}\t8812509{p:04d}" for p in pairs]
    (tmp_path / "u.data").write_text("\n".join(lines))
    data = load("semi_synthetic", tmp_path)
    assert (data.name, data.n_users, data.n_items) == ("semi_synthetic_ml_100k", 40, 30)
    assert data.user_ids[0] == 1


def test_amazon_keeps_busy_users_and_items_and_the_first_of_them(monkeypatch):
    monkeypatch.setattr("debiasrec.data.semisynthetic.LARGEST", 9)
    rows = [(f"u{u}", f"i{i}") for u in (*range(9, -1, -1), 10) for i in range(12 if u < 10 else 9)]
    frame = pd.DataFrame([*rows, ("u0", "rare")], columns=["user", "item"])
    kept = first_busy(frame)
    assert list(kept["user"].unique()) == [f"u{u}" for u in range(9, 0, -1)]
    assert list(kept["item"].unique()) == [f"i{i}" for i in range(9)]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "must hold u.data or ratings_CDs"), ("", "u.data: not lines of"), ("1 2 3 4\n", "u.data: not lines of")],
)
def test_missing_and_malformed_files_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "u.data").write_text(content)
    with pytest.raises(DebiasRecError, match=message):
        load("semi_synthetic", tmp_path)


def test_bad_options_are_refused(ratings):
    with pytest.raises(DebiasRecError, match="seed must be a whole number >= 0, got -1"):
        semi_synthetic(ratings, seed=-1)
    with pytest.raises(DebiasRecError, match="factors must be a whole number >= 1, got 0"):
        semi_synthetic(ratings, factors=0)
    with pytest.raises(DebiasRecError, match=r"l2 must be a finite number > 0, got 0\.0"):
        semi_synthetic(ratings, l2=0.0)


def test_decayed_factors_leave_exposure_to_users_and_items(ratings):
    smooth = logit(semi_synthetic(ratings, factors=4, l2=1e4).truth.exposure)
    np.testing.assert_allclose(
        smooth - smooth.mean(0), (smooth.mean(1) - smooth.mean())[:, None] + 0 * smooth, atol=0.01
    )
