"""`mf_score` with sparse row gradients against two `nn.Embedding(sparse=True)`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from debias_ext import mf_score

from ..harness import OURS, Benchmark, Case, Goal, Settings

N_USERS, N_ITEMS, FACTORS, BATCH = 1_000_000, 100_000, 64, 8_192
EMBEDDING, COALESCED = "nn.Embedding", "… and coalesce"


def build(rows: int, settings: Settings) -> Case:
    """A batch of `rows` uniform pairs; the cotangent of the scores is given, so that nothing but mf_score is timed.

    Our gradients are coalesced, what optimisers of sparse gradients ask for; autograd's are one row per sample, and are
    shown both as they are and coalesced.
    """
    n_users, n_items, generator = settings.scaled(N_USERS), settings.scaled(N_ITEMS), settings.generator()
    place = {"generator": generator, "device": settings.device}
    user_table = nn.Embedding(n_users, FACTORS, sparse=True, device=settings.device)
    item_table = nn.Embedding(n_items, FACTORS, sparse=True, device=settings.device)
    for table in (user_table, item_table):
        nn.init.normal_(table.weight, generator=generator)
    users, items = (torch.randint(size, (rows,), **place) for size in (n_users, n_items))
    cotangent = torch.randn(rows, **place)

    def ours() -> list[Tensor]:
        return gradients(mf_score(user_table.weight, item_table.weight, users, items, sparse_grad=True))

    def embedding() -> list[Tensor]:
        return gradients((user_table(users) * item_table(items)).sum(1))

    def gradients(scores: Tensor) -> list[Tensor]:
        return [scores.detach(), *torch.autograd.grad(scores, (user_table.weight, item_table.weight), cotangent)]

    def coalesced(run: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
        return lambda: [tensor.coalesce() if tensor.is_sparse else tensor for tensor in run()]

    floats = 5 * rows * FACTORS  # both rows read forward, read backward, and gradients written; at most one is cached
    alternatives = {OURS: ours, EMBEDDING: embedding, COALESCED: coalesced(embedding)}
    return Case(alternatives, bytes_moved=4 * floats)


GOAL = Goal(2, 4)
BENCHMARKS = [
    Benchmark(
        "mf_score",
        "1M x 100k tables, d = 64, sparse gradients, forward + backward",
        BATCH,
        build,
        {EMBEDDING: GOAL, COALESCED: GOAL},
    )
]
