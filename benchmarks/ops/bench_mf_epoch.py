"""`mf_epoch_` on the sizes of Yahoo!R3 against a loop of plain torch over the same batches, without a DataLoader."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debias_ext import mf_epoch_, mf_epoch_order

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import FACTORS, N_ITEMS, N_USERS, PLAIN, RATINGS
from ._training import PlainModel, Rows
from .bench_mf_step import TOUCHED, optimizer

BATCH = 1_024


def builder(kind: str) -> Callable[[int, Settings], Case]:
    """The order of an epoch is made in our call and given to the loop."""

    def build(rows: int, settings: Settings) -> Case:
        place = {"generator": settings.generator(), "device": settings.device}
        tables = torch.randn(N_USERS, FACTORS, **place) * 0.3, torch.randn(N_ITEMS, FACTORS, **place) * 0.3
        users, items = (torch.randint(size, (rows,), **place) for size in (N_USERS, N_ITEMS))
        targets = torch.randn(rows, **place).sign_()
        everything = torch.arange(N_USERS), torch.arange(N_ITEMS)
        own, state, model = [table.clone() for table in tables], optimizer(kind), PlainModel(kind, tables)
        epoch, order = 0, mf_epoch_order(rows, 0, 0)

        def next_epoch() -> None:
            nonlocal epoch, order
            epoch, order = epoch + 1, mf_epoch_order(rows, 0, epoch + 1)

        def ours() -> list[Tensor | Rows]:
            total = mf_epoch_(
                *own, users, items, targets, optimizer=state, batch_size=BATCH, generator_seed=0, epoch=epoch
            )
            return [total, Rows(*zip(own, everything, strict=True))]

        def plain() -> list[Tensor | Rows]:
            total = torch.zeros((), dtype=torch.float64)
            for batch in order.split(BATCH):
                total += model.step((users[batch], items[batch], targets[batch]))
            return [total, Rows(*zip(model.tables, everything, strict=True))]

        steps = -(-rows // BATCH)
        values = steps * (N_USERS + N_ITEMS) if kind == "adam" else 2 * rows
        moved = 4 * values * FACTORS * TOUCHED[kind]
        return Case({OURS: ours, PLAIN: plain}, moved, rtol=1e-3, atol=1e-4, before=next_epoch)

    return build


GOAL = Goal(8, 15)
BENCHMARKS = [
    Benchmark(
        f"mf_epoch_{kind}",
        f"an epoch of Yahoo!R3's size, d = 10, batches of 1,024, {label}",
        RATINGS,
        builder(kind),
        {PLAIN: GOAL},
    )
    for kind, label in (("adagrad", "Adagrad"), ("lazy_adam", "lazy Adam"), ("adam", "exact dense Adam"))
]
