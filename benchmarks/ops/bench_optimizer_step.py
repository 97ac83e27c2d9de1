"""`optimizer_step_` against the dense Adam of torch, one table at a time, by lists and fused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debias_ext import optimizer_step_

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import N_USERS

LR = 1e-3
PLAIN, FOREACH, FUSED = "torch.optim.Adam", "torch.optim.Adam(foreach)", "torch.optim.Adam(fused)"
MLP = [(64, 100), (64,), (64, 64), (64,), (1, 64), (1,)]  # of two hidden layers


def torch_adam(tables: list[Tensor], gradients: list[Tensor], **options: bool) -> Callable[[], list[Tensor]]:
    own = [table.clone().requires_grad_() for table in tables]
    for table, gradient in zip(own, gradients, strict=True):
        table.grad = gradient.to_dense()
    optimizer = torch.optim.Adam(own, lr=LR, **options)

    def step() -> list[Tensor]:
        optimizer.step()
        return [table.detach() for table in own]

    return step


def builder(shapes: Callable[[int], list[tuple[int, ...]]], touched: float = 1.0) -> Callable[[int, Settings], Case]:
    """Of some gradients only a share of the rows is given; torch's dense Adam gets them all."""

    def build(rows: int, settings: Settings) -> Case:
        place = {"generator": settings.generator(), "device": settings.device}
        tables = [torch.randn(shape, **place) for shape in shapes(rows)]
        gradients = [torch.randn(table.shape, **place) for table in tables]
        if touched < 1:
            for k, table in enumerate(tables):
                some = torch.arange(0, len(table), round(1 / touched), device=settings.device)
                values = gradients[k][some]
                gradients[k] = torch.sparse_coo_tensor(
                    some[None], values, table.shape, check_invariants=True
                ).coalesce()
        own = [table.clone() for table in tables]
        first, second = ([torch.zeros_like(table) for table in tables] for _ in range(2))
        steps = 0

        def ours() -> list[Tensor]:
            nonlocal steps
            steps += 1
            optimizer_step_(own, gradients, kind="adam", lr=LR, first=first, second=second, step=steps)
            return own

        calls = {
            OURS: ours,
            PLAIN: torch_adam(tables, gradients, foreach=False),
            FOREACH: torch_adam(tables, gradients, foreach=True),
            FUSED: torch_adam(tables, gradients, fused=True),
        }
        return Case(calls, sum(7 * table.nbytes for table in tables), atol=1e-3)

    return build


BENCHMARKS = [
    Benchmark(
        "optimizer_step_dense",
        "a table of d = 50, Adam",
        N_USERS,
        builder(lambda rows: [(rows, 50)]),
        {PLAIN: Goal(2, 4), FOREACH: Goal(2, 4), FUSED: Goal(0.9, 1.2)},
    ),
    Benchmark(
        "optimizer_step_sparse",
        "a table of d = 50, Adam, a gradient for one row in 16",
        N_USERS,
        builder(lambda rows: [(rows, 50)], touched=1 / 16),
        {PLAIN: Goal(2, 4), FOREACH: Goal(2, 4), FUSED: Goal(0.9, 1.2)},
    ),
    Benchmark(
        "optimizer_step_small",
        "the 6 tables of a network, Adam",
        64,
        builder(lambda rows: MLP),
        {PLAIN: Goal(2, 4), FOREACH: Goal(2, 4), FUSED: Goal(1, 2)},
    ),
]
