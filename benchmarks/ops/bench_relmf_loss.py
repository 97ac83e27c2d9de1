"""`relmf_loss` against the lines of torch that it replaces."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext import relmf_loss

from ..harness import Benchmark, Case, Goal, Settings
from ._rows import COMPILED, EAGER, row_case


def square(scores: Tensor, clicks: Tensor, exposures: Tensor) -> Tensor:
    relevance, weights = torch.sigmoid(scores), clicks / exposures
    return (weights * (1 - relevance).square() + (1 - weights) * relevance.square()).mean()


def log(scores: Tensor, clicks: Tensor, exposures: Tensor) -> Tensor:
    return (F.softplus(scores) - clicks / exposures * scores).mean()


def _build(rows: int, settings: Settings, form: str) -> Case:
    place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}
    scores = torch.randn(rows, **place).requires_grad_()
    exposures = 0.05 + 0.95 * torch.rand(rows, **place)
    clicks = (torch.rand(rows, **place) < exposures / 2).float()
    plain = {"square": square, "log": log}[form]
    return row_case(partial(relmf_loss, form=form), plain, (scores, clicks, exposures), [scores], settings)


GOALS = {EAGER: Goal(2.5), COMPILED: Goal(1.3)}
BENCHMARKS = [
    Benchmark(name, f"{form}, forward + backward to the scores", 1_000_000, partial(_build, form=form), GOALS)
    for name, form in (("relmf_loss", "square"), ("relmf_loss_log", "log"))
]
