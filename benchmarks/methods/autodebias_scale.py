"""AutoDebias on large simulated data: seconds an epoch by number of ratings, and the peak of memory.

    python -m benchmarks.methods.autodebias_scale [--users 200000] [--items 50000] [--millions 5 10 20]

Each size runs in a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource

import numpy as np
import pandas as pd

from debiasrec import methods
from debiasrec.data import Dataset, Interactions, Split

EPOCHS, UNIFORM = 3, 100_000
SETTINGS = {
    "batching": "block",
    "user_block": 20_000,
    "item_block": 5_000,
    "optimizer": "sgd",
    "reduction": "sum",
    "lr": 1e-5,
    "imputation_weight": 2e-3,
}


def simulated(n_users: int, n_items: int, n_ratings: int) -> Split:
    """Ratings of skewed users and items whose stars follow a user and an item effect; some uniform ones."""
    rng = np.random.default_rng(0)
    effects = [rng.standard_normal(n) for n in (n_users, n_items)]

    def rated(users: np.ndarray, items: np.ndarray) -> Interactions:
        stars = 3 + effects[0][users] + effects[1][items] + rng.standard_normal(len(users))
        return Interactions(users, items, np.clip(np.rint(stars), 1, 5))

    # Squares of uniform numbers: a few percent of the draws coincide, and go.
    users, items = ((rng.random(n_ratings * 5 // 4) ** 2 * n).astype(np.int64) for n in (n_users, n_items))
    cells = np.unique(users * n_items + items)
    cells = np.sort(rng.permutation(cells)[:n_ratings])
    biased = rated(cells // n_items, cells % n_items)
    cells = rng.choice(n_users * n_items, 2 * UNIFORM, replace=False, shuffle=False)
    parts = [rated(part // n_items, part % n_items) for part in np.split(cells, 2)]
    ids = [pd.RangeIndex(n) for n in (n_users, n_items)]
    data = Dataset("large", biased, None, n_users, n_items, *ids, (1.0, 5.0), 4.0)
    return Split(data, "large", 0, train=biased, uniform_train=parts[0], uniform_validation=parts[1])


def measure(n_users: int, n_items: int, n_ratings: int) -> None:
    """Train a few epochs and print one line."""
    split = simulated(n_users, n_items, n_ratings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    method = methods.AutoDebias(max_epochs=EPOCHS, **SETTINGS).fit(split)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, rows = method.history_["seconds"].median(), len(split.train)
    print(
        f"{rows:>12,} ratings  {seconds:8.2f} s an epoch  {1e9 * seconds / rows:6.1f} ns a rating  "
        f"peak {peak:.2f} GiB ({before:.2f} GiB to make the data)  loss {method.history_['loss'].iloc[-1]:.1f}",
        flush=True,
    )


def main() -> None:
    """One process a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--millions", type=float, nargs="+", default=[5, 10, 20])
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for millions in options.millions:
        process = context.Process(target=measure, args=(options.users, options.items, int(millions * 1e6)))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
