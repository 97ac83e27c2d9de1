"""`additive_weights` against the lines of torch that it replaces."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import additive_weights

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import COMPILED, EAGER, N_ITEMS, N_USERS

N_LABELS, TEMPERATURE = 2, 5.0
GOALS = {EAGER: Goal(4, 6), COMPILED: Goal(2, 4)}


def plain(
    user_table: Tensor, item_table: Tensor, label_table: Tensor, users: Tensor, items: Tensor, labels: Tensor
) -> Tensor:
    return torch.exp((user_table[users] + item_table[items] + label_table[labels]) / TEMPERATURE)


def build(rows: int, settings: Settings) -> Case:
    """Pairs of the size of Yahoo!R3's tables, the weights, and the gradients of the three tables."""
    place = {"generator": settings.generator(), "device": settings.device}
    sizes = (settings.scaled(N_USERS), settings.scaled(N_ITEMS), N_LABELS)
    tables = [(0.1 * torch.randn(size, **place)).requires_grad_() for size in sizes]
    indices = [torch.randint(size, (rows,), **place) for size in sizes]
    cotangent = torch.randn(rows, **place)

    def run(weights):
        def both() -> list[Tensor]:
            value = weights(*tables, *indices)
            return [value.detach(), *torch.autograd.grad(value, tables, cotangent)]

        return both

    alternatives = {OURS: run(additive_weights), EAGER: run(plain)}
    if settings.compiled:
        alternatives[COMPILED] = run(torch.compile(plain, fullgraph=True, dynamic=False))
    moved = 2 * sum(index.nbytes for index in indices) + 4 * cotangent.nbytes
    return Case(alternatives, bytes_moved=moved, rtol=1e-3, atol=1e-4)


BENCHMARKS = [
    Benchmark("additive_weights", "15,400 users, 1,000 items, 2 labels, forward + backward", 1_000_000, build, GOALS)
]
