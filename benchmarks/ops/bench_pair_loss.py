"""`pair_loss` against the lines of torch that it replaces."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext import pair_loss

from ..harness import Benchmark, Case, Goal, Settings
from ._rows import COMPILED, EAGER, row_case

GAMMA = 0.1
GOALS = {EAGER: Goal(1.5), COMPILED: Goal(1.3)}


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    return -F.logsigmoid(positive - negative).mean()


def pda(positive: Tensor, negative: Tensor, m_positive: Tensor, m_negative: Tensor) -> Tensor:
    gap = m_positive.pow(GAMMA) * (F.elu(positive) + 1) - m_negative.pow(GAMMA) * (F.elu(negative) + 1)
    return -F.logsigmoid(gap).mean()


def fused_pda(positive: Tensor, negative: Tensor, m_positive: Tensor, m_negative: Tensor) -> Tensor:
    popularity = {"positive_popularity": m_positive, "negative_popularity": m_negative}
    return pair_loss(positive, negative, **popularity, gamma=GAMMA, kind="pda")


def _build(rows: int, settings: Settings, kind: str) -> Case:
    place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}
    scores = [torch.randn(rows, **place).requires_grad_() for _ in range(2)]
    if kind == "bpr":
        return row_case(pair_loss, bpr, scores, scores, settings)
    popularity = [torch.rand(rows, **place).square() for _ in range(2)]
    return row_case(fused_pda, pda, (*scores, *popularity), scores, settings)


BENCHMARKS = [
    Benchmark("pair_loss", "BPR, forward + backward", 1_000_000, partial(_build, kind="bpr"), GOALS),
    Benchmark("pair_loss_pda", "PDA, forward + backward", 1_000_000, partial(_build, kind="pda"), GOALS),
]
