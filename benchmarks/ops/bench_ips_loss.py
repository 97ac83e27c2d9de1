"""`ips_loss` against the line of torch that it replaces."""

from __future__ import annotations

from torch import Tensor

from debias_ext import ips_loss

from ..harness import Benchmark, Case, Settings
from ._rows import TO_PROPENSITIES, TO_SCORES, Rows, row_case


def plain(scores: Tensor, targets: Tensor, propensities: Tensor) -> Tensor:
    return ((scores - targets).square() / propensities).mean()


def _build(rows: int, settings: Settings, propensity_gradient: bool) -> Case:
    data = Rows(rows, settings, propensity_gradient=propensity_gradient)
    arguments = (data.scores, data.targets, data.propensities)
    return row_case(ips_loss, plain, arguments, data.differentiated(), settings)


def to_scores(rows: int, settings: Settings) -> Case:
    return _build(rows, settings, propensity_gradient=False)


def to_propensities(rows: int, settings: Settings) -> Case:
    return _build(rows, settings, propensity_gradient=True)


BENCHMARKS = [
    Benchmark("ips_loss", "mse, forward + backward to the scores", 1_000_000, to_scores, TO_SCORES),
    Benchmark("ips_loss_propensity", "and to the propensities", 1_000_000, to_propensities, TO_PROPENSITIES),
]
