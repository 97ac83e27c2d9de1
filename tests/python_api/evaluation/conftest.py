"""A small data set made by hand and a method whose scores are given."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from debiasrec.data import Dataset, Interactions, Split
from debiasrec.training import DivergenceError


@dataclass(kw_only=True, eq=False, repr=False)
class FixedScores(BaseEstimator):
    """Scores that ``level`` and ``seed`` alone decide: two decimals, so that there are ties."""

    name: ClassVar[str] = "mf"
    needs_uniform: ClassVar[bool] = False

    level: float = 0.0
    seed: int = 0
    n_items: int = 30
    fails: str = ""

    def fit(self, split, *, device="cpu", progress=None, checkpoint=None, resume=False):
        if self.fails == "interrupt":
            raise KeyboardInterrupt
        if self.fails == "diverge at seed 0" and self.seed == 0:
            raise DivergenceError("training diverged in epoch 1")
        self.best_epoch_, self.stopped_by_, self.fit_seconds_ = 3, "patience", 0.25
        if progress is not None:
            progress(SimpleNamespace(epoch=1, max_epochs=3, loss=0.5, validation=None))
        return self

    def predict(self, users, items):
        noise = np.random.default_rng(self.seed).random((1000, self.n_items))[users, items]
        scores = (self.level * (items / self.n_items) + noise).round(1).astype(np.float32)
        return np.full_like(scores, np.nan) if self.fails == "nan" else scores[:-1] if self.fails == "shape" else scores

    def encode(self, ratings):
        return np.where(np.asarray(ratings) >= 4, 1.0, -1.0).astype(np.float32)


@pytest.fixture
def fixed_scores():
    return FixedScores


def some_ratings(rng: np.random.Generator, n_users: int, n_items: int, per_user: int) -> Interactions:
    """Every user rates between 1 and ``per_user`` items; later items are liked more; user 0 likes all, user 1 none."""
    users, items = [], []
    for user in range(n_users):
        chosen = rng.permutation(n_items)[: rng.integers(1, per_user + 1)]
        users += [user] * len(chosen)
        items += list(chosen)
    users, items = np.array(users), np.array(items)
    ratings = np.clip(rng.integers(1, 6, len(items)) + (items > n_items / 2), 1, 5)
    ratings[users == 0], ratings[users == 1] = 5, 1
    return Interactions(users, items, ratings.astype(np.float32))


def make_dataset(uniform: Interactions | None, biased: Interactions, n_users: int, n_items: int, **extra) -> Dataset:
    ids = {"user_ids": pd.RangeIndex(n_users), "item_ids": pd.RangeIndex(n_items)}
    scale = {"rating_scale": (1.0, 5.0), "threshold": 4.0}
    return Dataset("handmade", biased, uniform, n_users, n_items, **ids, **scale, **extra)


@pytest.fixture
def make_split():
    """A split of 40 users and 30 items whose tests are known row by row; name and parts as asked."""

    def make(name: str = "interd", *, biased_test: bool = True, uniform: bool = True, **extra) -> Split:
        rng = np.random.default_rng(3)
        parts = [some_ratings(rng, 40, 30, most) for most in (6, 4, 8, 12, 5)]
        data = make_dataset(parts[3] if uniform else None, parts[0], 40, 30, **extra)
        return Split(
            dataset=data,
            name=name,
            seed=0,
            train=parts[0],
            biased_validation=parts[4],
            biased_test=parts[2] if biased_test else None,
            uniform_train=parts[1] if uniform else None,
            uniform_validation=parts[1] if uniform else None,
            uniform_test=parts[3] if uniform else None,
        )

    return make
