"""`exposure_loss` against the two ways of writing it in torch: literally, and without losing digits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext import exposure_loss

from ..harness import Benchmark, Case, Goal, Settings
from ._rows import COMPILED, EAGER, row_case

LITERAL = "literal torch eager"
GOALS = {LITERAL: Goal(4, 6.5), EAGER: Goal(7, 10), COMPILED: Goal(2, 2.8)}


def literal(scores: Tensor, clicks: Tensor, exposures: Tensor) -> Tensor:
    """The formula as it stands: infinite or 0 where sigmoid saturates."""
    joint = exposures * torch.sigmoid(scores)
    return -(clicks * torch.log(joint) + (1 - clicks) * torch.log(1 - joint)).mean()


def stable(scores: Tensor, clicks: Tensor, exposures: Tensor) -> Tensor:
    """The same without cancellation, from softplus and logarithms near 1."""
    joint = exposures * torch.sigmoid(scores)
    survival = (1 - exposures) + exposures * torch.sigmoid(-scores)
    clicked = F.softplus(-scores) - torch.log(exposures)
    not_clicked = torch.where(joint < 0.5, -torch.log1p(-joint), -torch.log(survival))
    return (clicks * clicked + (1 - clicks) * not_clicked).mean()


def _build(rows: int, settings: Settings, exposure_gradient: bool) -> Case:
    place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}
    scores = torch.randn(rows, **place).requires_grad_()
    exposures = 0.05 + 0.9 * torch.rand(rows, **place)
    clicks = (torch.rand(rows, **place) < exposures * torch.sigmoid(scores.detach())).float()
    wanted = [scores, exposures.requires_grad_()] if exposure_gradient else [scores]
    return row_case(exposure_loss, stable, (scores, clicks, exposures), wanted, settings, {LITERAL: literal})


def to_scores(rows: int, settings: Settings) -> Case:
    return _build(rows, settings, exposure_gradient=False)


def to_exposures(rows: int, settings: Settings) -> Case:
    return _build(rows, settings, exposure_gradient=True)


BENCHMARKS = [
    Benchmark("exposure_loss", "0/1 clicks, forward + backward to the scores", 1_000_000, to_scores, GOALS),
    Benchmark("exposure_loss_exposure", "and to the exposures", 1_000_000, to_exposures, GOALS),
]
