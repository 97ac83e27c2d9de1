"""`mf_topk` with seen items masked, against the matrix of scores in chunks of users, and implicit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from debias_ext import mf_topk

from ..harness import OURS, Benchmark, Case, Goal, Settings

USERS, N_ITEMS, FACTORS, K = 2_000, 100_000, 64, 20
SEEN_PER_USER = 100
CHUNK = 200  # users of a score matrix
FRESH, PREALLOCATED, IMPLICIT = "torch mm + masked_fill + topk", "… preallocated", "implicit"
HAS_IMPLICIT = find_spec("implicit") is not None


def build(rows: int, settings: Settings) -> Case:
    """`rows` users. Scores are returned: items whose scores round alike may come in another order."""
    n_items, generator = max(K + SEEN_PER_USER, settings.scaled(N_ITEMS)), settings.generator()
    place: dict[str, Any] = {"generator": generator, "device": settings.device}
    user_factors, item_factors = torch.randn(rows, FACTORS, **place), torch.randn(n_items, FACTORS, **place)
    users = torch.arange(rows, device=settings.device)
    seen_users = users.repeat_interleave(SEEN_PER_USER)
    seen_items = torch.randint(n_items, (len(seen_users),), **place)
    offsets = torch.arange(rows + 1, device=settings.device) * SEEN_PER_USER
    chunks = [(first, min(rows, first + CHUNK)) for first in range(0, rows, CHUNK)]

    def seen_in(first: int, last: int) -> tuple[Tensor, Tensor]:
        part = slice(first * SEEN_PER_USER, last * SEEN_PER_USER)
        return seen_users[part] - first, seen_items[part]

    def fresh() -> Tensor:
        best = []
        for first, last in chunks:
            scores = torch.mm(user_factors[first:last], item_factors.T)
            mask = torch.zeros_like(scores, dtype=torch.bool)
            mask[seen_in(first, last)] = True
            best.append(torch.topk(scores.masked_fill(mask, -torch.inf), K, dim=1).values)
        return torch.cat(best)

    buffer = torch.empty(CHUNK, n_items, device=settings.device)

    def preallocated() -> Tensor:
        best = []
        for first, last in chunks:
            scores = torch.mm(user_factors[first:last], item_factors.T, out=buffer[: last - first])
            scores[seen_in(first, last)] = -torch.inf
            best.append(torch.topk(scores, K, dim=1).values)
        return torch.cat(best)

    alternatives: dict[str, Callable[[], object]] = {
        OURS: lambda: mf_topk(user_factors, item_factors, users, K, seen=(offsets, seen_items))[0],
        FRESH: fresh,
        PREALLOCATED: preallocated,
    }
    if not HAS_IMPLICIT:
        say_once("mf_topk: implicit left out, since it is not installed (pip install implicit)")
    elif settings.device == "cpu":
        alternatives[IMPLICIT] = with_implicit(user_factors, item_factors, offsets, seen_items)
    return Case(alternatives, bytes_moved=4 * (rows + n_items) * FACTORS + 12 * rows * K)


@cache
def say_once(what: str) -> None:
    print(what)


def with_implicit(
    user_factors: Tensor, item_factors: Tensor, offsets: Tensor, seen_items: Tensor
) -> Callable[[], object]:
    """Its own threads over users, and one thread in BLAS, as its authors advise."""
    import numpy as np
    from implicit.cpu.topk import topk
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    seen = csr_matrix((np.ones(len(seen_items), np.float32), seen_items.numpy(), offsets.numpy()))
    seen.resize(len(user_factors), len(item_factors))

    def run() -> object:
        with threadpool_limits(1, "blas"):
            threads = torch.get_num_threads()
            return topk(item_factors.numpy(), user_factors.numpy(), K, filter_query_items=seen, num_threads=threads)[1]

    return run


GOALS = {FRESH: Goal(4, 5), PREALLOCATED: Goal(2, 2.5)} | ({IMPLICIT: Goal(3, 4)} if HAS_IMPLICIT else {})
BENCHMARKS = [
    Benchmark(
        "mf_topk",
        "2,000 users x 100,000 items, d = 64, k = 20, seen items masked",
        USERS,
        build,
        GOALS,
    )
]
