"""`mf_score` with sparse row gradients against two `nn.Embedding(sparse=True)`."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn

from debias_ext import mf_score

from ..harness import OURS, Benchmark, Case, Goal, Settings

N_USERS, N_ITEMS, FACTORS, BATCH = 1_000_000, 100_000, 64, 8_192
N_BATCHES = 16  # 64 MB of rows
EMBEDDING, COALESCED = "nn.Embedding", "… and coalesce"


def build(rows: int, settings: Settings) -> Case:
    """Batches of `rows` uniform pairs, and the cotangent of their scores: nothing but mf_score is timed.

    Each timed call takes another batch, since the rows that a training step reads are not in the cache.

    Our gradients are coalesced, what optimisers of sparse gradients ask for; autograd's are one row per sample, and are
    shown both as they are and coalesced.
    """
    n_users, n_items, generator = settings.scaled(N_USERS), settings.scaled(N_ITEMS), settings.generator()
    place = {"generator": generator, "device": settings.device}
    user_table, item_table = (
        nn.Embedding.from_pretrained(torch.randn(size, FACTORS, **place), freeze=False, sparse=True)
        for size in (n_users, n_items)
    )
    batches = deque(
        tuple(torch.randint(size, (rows,), **place) for size in (n_users, n_items)) for _ in range(N_BATCHES)
    )
    cotangent = torch.randn(rows, **place)

    def ours() -> list[Tensor]:
        users, items = batches[0]
        return gradients(mf_score(user_table.weight, item_table.weight, users, items, sparse_grad=True))

    def embedding() -> list[Tensor]:
        users, items = batches[0]
        return gradients((user_table(users) * item_table(items)).sum(1))

    def coalesced() -> list[Tensor]:
        return [tensor.coalesce() if tensor.is_sparse else tensor for tensor in embedding()]

    def gradients(scores: Tensor) -> list[Tensor]:
        return [scores.detach(), *torch.autograd.grad(scores, (user_table.weight, item_table.weight), cotangent)]

    alternatives = {OURS: ours, EMBEDDING: embedding, COALESCED: coalesced}
    floats = 2 * 2 * rows * FACTORS  # rows of both tables read once, their gradients written once
    return Case(alternatives, bytes_moved=4 * floats, before=lambda: batches.rotate(-1))


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
