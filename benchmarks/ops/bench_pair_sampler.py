"""`PairSampler.unobserved` against rejection in numpy, on a matrix of the size of Yahoo! R3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from debias_ext import PairSampler

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import N_ITEMS, N_USERS, RATINGS

ROWS = 10_000_000
TABLE, SORT = "numpy isin", "numpy isin (sort)"


@dataclass(frozen=True)
class Draw:
    """Pairs, compared by what they have in common: no rated one, and each user and item about equally often."""

    users: np.ndarray
    items: np.ndarray
    rated: np.ndarray  # bool, by cell

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        share_of_rated = self.rated[self.users * N_ITEMS + self.items].mean()
        return np.array([share_of_rated, self.users.mean() / N_USERS, self.items.mean() / N_ITEMS, len(self.users)])


def build(rows: int, settings: Settings) -> Case:
    """Fresh int64 users and items in every call."""
    random = np.random.default_rng(settings.seed)
    cells = np.sort(random.choice(N_USERS * N_ITEMS, RATINGS, replace=False))
    rated = np.zeros(N_USERS * N_ITEMS, dtype=bool)
    rated[cells] = True
    observed = torch.from_numpy(cells // N_ITEMS), torch.from_numpy(cells % N_ITEMS)
    sampler = PairSampler(*observed, n_users=N_USERS, n_items=N_ITEMS, seed=settings.seed)

    def ours() -> Draw:
        users, items = sampler.unobserved(rows)
        return Draw(users.numpy(), items.numpy(), rated)

    def with_numpy(kind: str | None) -> Draw:
        drawn = random.integers(0, N_USERS * N_ITEMS, rows)
        refused = np.flatnonzero(np.isin(drawn, cells, kind=kind))
        while len(refused):
            drawn[refused] = random.integers(0, N_USERS * N_ITEMS, len(refused))
            refused = refused[np.isin(drawn[refused], cells, kind=kind)]
        return Draw(*np.divmod(drawn, N_ITEMS), rated)

    alternatives: dict[str, Callable[[], object]] = {
        OURS: ours,
        TABLE: partial(with_numpy, None),
        SORT: partial(with_numpy, "sort"),
    }
    return Case(alternatives, bytes_moved=16 * rows, rtol=0.02 + 10 / rows**0.5)


BENCHMARKS = [
    Benchmark(
        "pair_sampler",
        "10M unobserved pairs of 15,400 x 1,000, 311,704 rated",
        ROWS,
        build,
        {TABLE: Goal(4.5, 9), SORT: Goal(45, 100)},
    )
]
