"""A training epoch of MF, IPS and DR at the size of Yahoo! R3 against the same recipe in plain torch, DR also against
the published one, which enumerates all pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch

import debiasrec
from debiasrec import methods

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ..plain_recipes import EnumeratedRecipe, PlainBlocks, PlainRecipe
from ._shared import N_ITEMS, N_USERS, PLAIN, PUBLISHED, RATINGS


def ratings(count: int, settings: Settings) -> debiasrec.data.Dataset:
    """Random ratings of distinct pairs, the items by a power law; every user and item is rated."""
    n_users, n_items, rng = settings.scaled(N_USERS), settings.scaled(N_ITEMS), np.random.default_rng(settings.seed)
    popular = 1 / np.arange(1, n_items + 1) ** 0.6
    users = np.concatenate([np.arange(n_users), np.zeros(n_items, np.int64), rng.integers(n_users, size=2 * count)])
    items = rng.choice(n_items, len(users), p=popular / popular.sum())
    items[n_users : n_users + n_items] = np.arange(n_items)
    frame = pd.DataFrame({"user": users, "item": items}).drop_duplicates().head(max(count, n_users + n_items))
    return debiasrec.from_frame(frame.assign(rating=rng.integers(1, 6, len(frame)).astype(float)))


def build(name: str, count: int, settings: Settings) -> Case:
    """One epoch a call, in blocks of 6,000 x 500, from the same initial tables; all go on from call to call."""
    data = ratings(count, settings)
    options = {**methods.preset(name, "yahoo_r3"), **({} if name == "mf" else {"propensity": "popularity"})}
    split = data.split("interd", seed=0)

    def start() -> tuple[methods.Method, object]:
        method = methods.make(name, **options)
        loader = method._start(split, settings.device)
        method.begin_epoch(1)
        return method, loader

    def epochs(run: Callable[[object, int], float], batches: object) -> Callable[[], float]:
        number = iter(range(1, 1_000_000))
        return lambda: run(batches, next(number))

    method, loader = start()

    def plain(recipe: PlainRecipe) -> Callable[[], float]:
        def run(batches: object, number: int) -> float:
            return float(torch.stack([recipe.step(batch) for batch in batches.epoch(number)]).mean())

        return epochs(run, PlainBlocks(loader))

    recipes = {PLAIN: PlainRecipe(start()[0])} | ({PUBLISHED: EnumeratedRecipe(start()[0])} if name == "dr" else {})
    alternatives = {OURS: epochs(method.epoch, loader)} | {called: plain(recipe) for called, recipe in recipes.items()}
    passes = 3 * 4 * (2 * options["factors"] + 4)  # ids and target, then rows and their gradients
    return Case(alternatives, bytes_moved=passes * count, rtol=1e-3)


GOALS = {"mf": {PLAIN: Goal(8)}, "ips": {PLAIN: Goal(8)}, "dr": {PLAIN: Goal(8), PUBLISHED: Goal(50)}}
BENCHMARKS = [
    Benchmark(
        f"fit_epoch_{name}",
        f"an epoch of {name}, d = 10, blocks of 6,000 x 500",
        RATINGS,
        partial(build, name),
        goals,
    )
    for name, goals in GOALS.items()
]
