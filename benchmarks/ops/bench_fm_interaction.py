"""`fm_interaction` against half the difference of the squared sum and the sum of squares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debias_ext import fm_interaction, reference

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import COMPILED, EAGER

FIELDS, WIDTH = 3, 8


def build(rows: int, settings: Settings) -> Case:
    fields = torch.randn((rows, FIELDS, WIDTH), generator=settings.generator(), device=settings.device)
    fields.requires_grad_()
    cotangent = torch.ones(rows, device=settings.device)

    def run(function: Callable[[Tensor], Tensor]) -> Callable[[], list[Tensor]]:
        def both() -> list[Tensor]:
            value = function(fields)
            return [value.detach(), *torch.autograd.grad(value, fields, cotangent)]

        return both

    calls = {OURS: run(fm_interaction), EAGER: run(reference.fm_interaction)}
    if settings.compiled:
        calls[COMPILED] = run(torch.compile(reference.fm_interaction, fullgraph=True, dynamic=False))
    return Case(calls, 3 * fields.nbytes + 2 * cotangent.nbytes, atol=1e-4)


BENCHMARKS = [
    Benchmark(
        "fm_interaction",
        "3 fields, d = 8, forward + backward",
        100_000,
        build,
        {EAGER: Goal(2, 4), COMPILED: Goal(0.8, 1.5)},
    )
]
