"""`mf_loss`, forward and backward, against `nn.Embedding` with a plain loss, and against our operators one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn

from debias_ext import ips_loss, mf_loss, mf_score

from ..harness import OURS, Benchmark, Case, Goal, Settings

FACTORS, BATCH = 64, 8_192
EMBEDDING, COMPOSED = "nn.Embedding", "mf_score + ips_loss"


def builder(users: int, items: int, n_batches: int, *, sparse: bool) -> Callable[[int, Settings], Case]:
    """Uniform pairs with propensities; each timed call takes another one of the batches."""

    def build(rows: int, settings: Settings) -> Case:
        sizes = settings.scaled(users), settings.scaled(items)
        place = {"generator": settings.generator(), "device": settings.device}
        tables = [
            nn.Embedding.from_pretrained(torch.randn(size, FACTORS, **place), freeze=False, sparse=sparse)
            for size in sizes
        ]
        weights = [table.weight for table in tables]

        def batch() -> tuple[Tensor, ...]:
            indices = (torch.randint(size, (rows,), **place) for size in sizes)
            return *indices, torch.randn(rows, **place).sign_(), 1 - 0.9 * torch.rand(rows, **place)

        batches = deque(batch() for _ in range(n_batches))

        def ours() -> list[Tensor]:
            index, other, targets, propensities = batches[0]
            return gradients(mf_loss(*weights, index, other, targets, weights=1 / propensities, sparse_grad=sparse))

        def composed() -> list[Tensor]:
            index, other, targets, propensities = batches[0]
            return gradients(ips_loss(mf_score(*weights, index, other, sparse_grad=sparse), targets, propensities))

        def embedding() -> list[Tensor]:
            index, other, targets, propensities = batches[0]
            scores = (tables[0](index) * tables[1](other)).sum(1)
            return gradients(((scores - targets).square() / propensities).mean())

        def gradients(loss: Tensor) -> list[Tensor]:
            return [loss.detach(), *torch.autograd.grad(loss, weights)]

        # the rows of both tables read once, and their gradients, rows or whole tables, written once
        floats = 2 * rows * FACTORS + (2 * rows if sparse else sum(sizes)) * FACTORS
        alternatives = {OURS: ours, EMBEDDING: embedding, COMPOSED: composed}
        return Case(alternatives, bytes_moved=4 * floats, before=lambda: batches.rotate(-1))

    return build


BENCHMARKS = [
    Benchmark(
        "mf_loss",
        "1M x 100k tables, d = 64, inverse propensities, sparse gradients, forward + backward",
        BATCH,
        builder(1_000_000, 100_000, 16, sparse=True),
    ),
    Benchmark(
        "mf_loss_dense",
        "15,400 x 1,000 tables, d = 64, inverse propensities, dense gradients, forward + backward",
        BATCH,
        builder(15_400, 1_000, 4, sparse=False),
        {EMBEDDING: Goal(2, 3)},
    ),
]
