"""`relmf_loss` in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext.reference._losses import reduce


def relmf_loss(
    scores: Tensor,
    clicks: Tensor,
    exposures: Tensor,
    *,
    form: str = "square",
    clip_min: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    exposures = exposures if clip_min is None else exposures.clamp(min=clip_min)
    weights, rest = clicks / exposures, (exposures - clicks) / exposures
    if form == "square":
        return reduce(weights * torch.sigmoid(-scores).square() + rest * torch.sigmoid(scores).square(), reduction)
    if form == "log":  # softplus(s) - w s, without the difference
        return reduce(-weights * F.logsigmoid(scores) - rest * F.logsigmoid(-scores), reduction)
    raise ValueError(f"form must be 'square' or 'log', got {form!r}")
