"""`mf_step_` against the same optimiser in plain torch, and against FBGEMM's fused embedding."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from debias_ext import MFOptimizer, mf_step_

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import FACTORS, N_ITEMS, N_USERS, PLAIN
from ._training import ACCUMULATOR, EPS, FBGEMM, LR, Batch, PlainModel, Rows, fbgemm_step

# Values of the tables and of the optimiser's state that a step reads and writes, for each value of a row.
TOUCHED = {"adagrad": 4, "rowwise_adagrad": 2, "lazy_adam": 6, "adam": 6}


def optimizer(kind: str) -> MFOptimizer:
    return MFOptimizer(kind, LR, eps=EPS, initial_accumulator=ACCUMULATOR if "adagrad" in kind else 0.0)


def builder(
    kind: str, users: int, items: int, factors: int, n_batches: int, *, plain: bool = True, fbgemm: bool = False
) -> Callable[[int, Settings], Case]:
    """Each timed call takes another one of the batches; each alternative has tables of its own."""

    def build(rows: int, settings: Settings) -> Case:
        sizes = settings.scaled(users), settings.scaled(items)
        place = {"generator": settings.generator(), "device": settings.device}
        tables = torch.randn(sizes[0], factors, **place) * 0.3, torch.randn(sizes[1], factors, **place) * 0.3

        def batch() -> Batch:
            index, other = (torch.randint(size, (rows,), **place) for size in sizes)
            return index, other, torch.randn(rows, **place).sign_()

        batches = deque(batch() for _ in range(n_batches))
        own, state = [table.clone() for table in tables], optimizer(kind)
        alternatives: dict[str, Callable[[], list[Tensor | Rows]]] = {}

        def ours() -> list[Tensor | Rows]:
            return result(mf_step_(*own, *batches[0], optimizer=state), own)

        def result(loss: Tensor, changed: list[Tensor]) -> list[Tensor | Rows]:
            return [loss, Rows(*zip(changed, batches[0][:2], strict=True))]

        alternatives[OURS] = ours
        if plain:
            model = PlainModel(kind, tables)
            alternatives[PLAIN] = lambda: result(model.step(batches[0]), list(model.tables))
        if fbgemm:
            try:
                step, held = fbgemm_step(kind, tables, rows)
            except (ImportError, OSError) as error:
                print(f"bench_mf_step: without FBGEMM ({error})", file=sys.stderr)
            else:
                alternatives[FBGEMM] = lambda: result(step(batches[0]), held)
        values = sum(sizes) if kind == "adam" else 2 * rows
        return Case(alternatives, 4 * values * factors * TOUCHED[kind], before=lambda: batches.rotate(-1))

    return build


HAS_FBGEMM = importlib.util.find_spec("fbgemm_gpu") is not None
LARGE, MEDIUM, SMALL = (1_000_000, 100_000, 64, 16), (N_USERS, N_ITEMS, 64, 16), (N_USERS, N_ITEMS, FACTORS, 32)


def against_plain(
    name: str, work: str, rows: int, tables: tuple[int, int, int, int], kind: str, goal: Goal
) -> Benchmark:
    return Benchmark(f"mf_step_{name}", work, rows, builder(kind, *tables), {PLAIN: goal})


BENCHMARKS = [
    Benchmark(
        "mf_step_adagrad",
        "1M x 100k tables, d = 64, Adagrad",
        8_192,
        builder("adagrad", *LARGE, fbgemm=True),
        {PLAIN: Goal(5, 8)} | ({FBGEMM: Goal(4, 7)} if HAS_FBGEMM else {}),
    ),
    against_plain("lazy_adam", "1M x 100k tables, d = 64, lazy Adam", 8_192, LARGE, "lazy_adam", Goal(6, 9)),
    *(
        against_plain(f"{size}_{kind}", f"15,400 x 1,000 tables, d = {tables[2]}, {said}", rows, tables, kind, goal)
        for size, tables, rows, kind, said, goal in (
            ("medium", MEDIUM, 8_192, "adagrad", "Adagrad", Goal(7, 11)),
            ("medium", MEDIUM, 8_192, "lazy_adam", "lazy Adam", Goal(7, 11)),
            ("small", SMALL, 1_024, "adagrad", "Adagrad", Goal(7, 12)),
            ("small", SMALL, 1_024, "lazy_adam", "lazy Adam", Goal(7, 12)),
            ("small", SMALL, 1_024, "adam", "exact dense Adam", Goal(4.5, 8)),
        )
    ),
]
if HAS_FBGEMM:  # plain torch has no row-wise Adagrad
    BENCHMARKS.append(
        Benchmark(
            "mf_step_rowwise_adagrad",
            "1M x 100k tables, d = 64, row-wise Adagrad",
            8_192,
            builder("rowwise_adagrad", *LARGE, plain=False, fbgemm=True),
            {FBGEMM: Goal(1.5, 3)},
        )
    )
