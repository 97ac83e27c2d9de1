"""`pointwise_loss` with binary cross-entropy against torch's own loss."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F

from debias_ext import pointwise_loss

from ..harness import Benchmark, Case, Settings
from ._rows import Rows, row_case


def build(rows: int, settings: Settings) -> Case:
    data = Rows(rows, settings)
    soft_targets = data.propensities
    ours = partial(pointwise_loss, loss="bce")
    return row_case(ours, F.binary_cross_entropy_with_logits, (data.scores, soft_targets), [data.scores], settings)


BENCHMARKS = [Benchmark("pointwise_loss", "bce, forward + backward to the scores", 1_000_000, build)]
