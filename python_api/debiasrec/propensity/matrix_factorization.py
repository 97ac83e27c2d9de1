"""Propensity from a factor model of which pairs are rated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

import debias_ext

from ..data.validation import is_whole
from ..errors import DebiasRecError
from ..models import MatrixFactorization, UnratedPairs
from .base import PropensityEstimator

if TYPE_CHECKING:
    from ..data.dataset import Split

_BATCH_SIZE = 1024


@dataclass(kw_only=True, eq=False)
class MFPropensity(PropensityEstimator):
    """q = sigmoid(P[u].Q[i] + a[u] + b[i] + c), fitted to which of all pairs are rated, by their log loss.

    Every batch of rated pairs comes with as many unrated ones, drawn anew, which stand for all unrated pairs: their
    weight is the ratio of the two numbers. c is the log odds of the density.

    Args:
        factors: length of the factor vectors.
        l2: coefficient of half the squared norm of the factor rows of a step, relative to its rated pairs.
        epochs: passes over the rated pairs.
        lr: learning rate of lazy Adam.
        seed: of the initial values and the unrated pairs.
        clip_min: estimates below are raised to it.

    Source: Yu et al., Bal, WWW 2023, public program (the model); logistic matrix factorisation, Johnson 2014, eq (4).
    """

    factors: int = 4
    l2: float = 1.0
    epochs: int = 20
    lr: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("factors", 1), ("epochs", 1), ("seed", 0)):
            value = getattr(self, name)
            if not is_whole(value) or value < least:
                raise DebiasRecError(f"{name} must be a whole number, at least {least}, got {value!r}")
        if not 0 <= self.l2 < np.inf:
            raise DebiasRecError(f"l2 must be >= 0 and finite, got {self.l2!r}")
        if not 0 < self.lr < np.inf:
            raise DebiasRecError(f"lr must be > 0 and finite, got {self.lr!r}")

    def _fit(self, split: Split) -> None:
        data, train = split.dataset, split.train
        unrated = UnratedPairs(train.users, train.items, data.n_users, data.n_items, self.seed)
        if not len(unrated):
            raise DebiasRecError(f"propensity mf needs unrated pairs, all {len(train):,} pairs are rated")
        ratio = len(unrated) / len(train)
        self._model = MatrixFactorization(
            data.n_users, data.n_items, self.factors, seed=self.seed, offset=-float(np.log(ratio))
        )
        optimizer = debias_ext.MFOptimizer("lazy_adam", self.lr)
        generator = np.random.default_rng((self.seed, 1))
        tables = self._model.tables()
        for _ in range(self.epochs):
            order = generator.permutation(len(train))
            for start in range(0, len(order), _BATCH_SIZE):
                rows = order[start : start + _BATCH_SIZE]
                users, items = unrated.draw(len(rows), torch.device("cpu"))
                rated = torch.arange(2 * len(rows)) < len(rows)
                debias_ext.mf_step_(
                    tables["user_factors"],
                    tables["item_factors"],
                    torch.cat([torch.from_numpy(train.users[rows]), users]),
                    torch.cat([torch.from_numpy(train.items[rows]), items]),
                    rated.float(),
                    weights=torch.where(rated, 1.0, ratio) / len(rows),
                    user_bias=tables["user_bias"],
                    item_bias=tables["item_bias"],
                    offset=self._model.offset,
                    loss="bce",
                    optimizer=optimizer,
                    l2=self.l2 / len(rows),
                    reduction="sum",
                )

    @torch.no_grad()
    def _estimate(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None) -> np.ndarray:
        scores = self._model.score(torch.tensor(users), torch.tensor(items))
        return torch.sigmoid(scores.double()).numpy()

    def _summary(self) -> str:
        return f"logistic matrix factorisation with {self.factors} factors (l2 {self.l2:g})"
