"""`snips_loss` against the lines of torch that it replaces."""

from __future__ import annotations

from torch import Tensor

from debias_ext import snips_loss

from ..harness import Benchmark, Case, Settings
from ._rows import Rows, row_case


def plain(scores: Tensor, targets: Tensor, propensities: Tensor) -> Tensor:
    weights = 1 / propensities
    return (weights * (scores - targets).square()).sum() / weights.sum()


def build(rows: int, settings: Settings) -> Case:
    data = Rows(rows, settings)
    return row_case(snips_loss, plain, (data.scores, data.targets, data.propensities), [data.scores], settings)


BENCHMARKS = [Benchmark("snips_loss", "mse, forward + backward to the scores", 1_000_000, build)]
