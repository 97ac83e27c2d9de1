"""Estimates of DCG@3 from clicks that were kept back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import debias_ext
from debiasrec import load, methods, tuning
from debiasrec.data import Dataset, Interactions, Split, Truth
from debiasrec.evaluation import validation_value
from debiasrec.training import click_validation
from debiasrec.training.click_validation import ClickValidator

SCORES = np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
EXPOSURE = np.full((3, 5), 0.5)
EXPOSURE[0, 1], EXPOSURE[0, 4] = 0.2, 0.9


@pytest.fixture
def split() -> Split:
    """User 0 has rated item 0 and kept back 1, 3 (negative) and 4; user 1 has kept back 0 alone; user 2 nothing."""
    train = Interactions([0, 1, 2, 2, 2, 1], [0, 1, 1, 1 + 1, 0, 4], [5, 5, 5, 5, 5, 1])
    kept = Interactions([0, 0, 0, 1], [1, 3, 4, 0], [5, 1, 4, 5])
    ids = [pd.RangeIndex(n) for n in (3, 5)]
    truth = Truth(EXPOSURE, EXPOSURE, EXPOSURE)
    data = Dataset("hand", train, None, 3, 5, *ids, (1.0, 5.0), 4.0, truth=truth)
    return Split(data, "hand", 0, train=train, biased_validation=kept)


def test_estimates_by_hand(split):
    # Clicks of items 0, 1, 2: 2, 2, 1. User 0 ranks 1, 2, 3, 4: the clicks are first and fourth, and the fourth counts
    # nothing. User 1 has rated 1 and 4 and ranks 3, 2, 0: the click is third.
    first, third = 1.0, 0.5
    q1, q4, q0 = 1.0, 0.01, 1.0
    expected = {
        "naive_dcg": ((first + 0) / 2 + third) / 2,
        "snips_dcg": (first / q1 / (1 / q1 + 1 / q4) + third) / 2,
        "ips_dcg": (first / q1 / 5 + third / q0 / 5) / 2,
        "oracle_dcg": (first / 0.2 / (1 / 0.2 + 1 / 0.9) + third) / 2,
    }
    for criterion, value in expected.items():
        validator = ClickValidator(split, criterion, "cpu")
        assert validator(lambda users, items: torch.from_numpy(SCORES)[users, items]) == pytest.approx(value)
    assert np.isnan(ClickValidator(split, "snips_dcg", "cpu")(lambda users, items: users * float("nan")))


@pytest.mark.parametrize("pairs", [1, 125, 1 << 20])
def test_blocks_of_users_change_nothing(monkeypatch, pairs):
    """Against the estimate of all pairs at once, rated ones left out; items tie."""
    split = load("simulated", n_users=120, n_items=60, density=0.2, uniform_per_user=20).split("implicit")
    scores = torch.from_numpy(np.random.default_rng(0).random((120, 60)).round(1))
    sizes, seen = [], set()

    def score(users, items):
        sizes.append(len(users))
        seen.update(users.tolist())
        return scores[users, items]

    monkeypatch.setattr(click_validation, "PAIRS_AT_ONCE", pairs)
    found = ClickValidator(split, "ips_dcg", "cpu")(score)

    kept = split.biased_validation.take(split.dataset.positives(split.biased_validation.ratings))
    assert seen == set(kept.users.tolist())
    assert max(sizes) <= max(pairs, 60)
    candidates, labels = np.ones((120, 60), dtype=bool), np.zeros((120, 60), dtype=np.uint8)
    candidates[split.train.users, split.train.items] = False
    candidates[kept.users, kept.items] = True
    labels[kept.users, kept.items] = 1
    counts = np.bincount(split.train.items[split.dataset.positives(split.train.ratings)], minlength=60)
    weights = np.broadcast_to(1 / np.maximum(np.sqrt(counts / counts.max()), 0.01), (120, 60))
    groups = np.broadcast_to(np.arange(120)[:, None], (120, 60))
    rows = [torch.from_numpy(table[candidates]) for table in (scores.numpy(), labels, groups, weights)]
    ranking = debias_ext.group_ranking(*rows[:3], ks=(3,), metrics=("dcg",), weights=rows[3])
    assert found == pytest.approx(np.nanmean(ranking["dcg@3"].numpy() / 60), rel=1e-12)


def test_a_known_exposure_is_needed_for_the_oracle(split):
    bare = Dataset("bare", split.train, None, 3, 5, pd.RangeIndex(3), pd.RangeIndex(5), (1.0, 5.0), 4.0)
    with pytest.raises(ValueError, match="the exposures of bare are not known"):
        ClickValidator(Split(bare, "x", 0, split.train, split.biased_validation), "oracle_dcg", "cpu")


def test_fits_stop_and_searches_choose_by_it(tmp_path):
    data = load("simulated", n_users=120, n_items=60, density=0.2, uniform_per_user=20)
    split = data.split("implicit")
    method = methods.make("umf", criterion="snips_dcg", max_epochs=20, patience=3, lr=0.05, negatives="all").fit(split)
    values = method.history_["validation"]
    assert method.best_epoch_ == values.idxmax() + 1
    assert validation_value(method, split, "snips_dcg") == pytest.approx(values.max(), rel=1e-6)
    found = tuning.tune("umf", split, trials=3, options={"criterion": "snips_dcg", "max_epochs": 3})
    assert found.higher_is_better
    assert found.best["value"] == max(trial["value"] for trial in found.trials)


def test_weights_undo_the_exposure_of_the_clicks():
    """With clicks of exposure x, known exposures bring the estimate nearer to the same mean over all relevant pairs."""
    rng = np.random.default_rng(0)
    shape = (400, 60)
    exposure = np.broadcast_to(np.linspace(0.2, 0.9, 60), shape)
    relevant = rng.random(shape) < 0.5
    clicked = relevant & (rng.random(shape) < exposure)
    rows = Interactions(*np.nonzero(clicked), np.full(clicked.sum(), 5.0))
    ids = [pd.RangeIndex(n) for n in shape]
    train = Interactions([0], [0], [1.0])
    data = Dataset("drawn", train, None, *shape, *ids, (1.0, 5.0), 4.0, truth=Truth(exposure, exposure, exposure))
    split = Split(data, "drawn", 0, train=train, biased_validation=rows)
    scores = torch.from_numpy(np.broadcast_to(np.linspace(1.0, 0.0, 60), shape).copy())
    found = {
        kind: ClickValidator(split, f"{kind}_dcg", "cpu")(lambda u, i: scores[u, i]) for kind in ("naive", "oracle")
    }
    gain = np.where(np.arange(60) < 3, 1 / np.log2(np.arange(60) + 2), 0.0)
    kept = relevant[clicked.any(1)]
    truth = np.mean((kept * gain).sum(1) / kept.sum(1))
    assert abs(found["oracle"] - truth) < 0.4 * abs(found["naive"] - truth)
