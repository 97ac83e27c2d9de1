"""`exposure_loss` in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext.reference._losses import reduce


def exposure_loss(
    scores: Tensor,
    clicks: Tensor,
    exposures: Tensor | None = None,
    *,
    exposure_logits: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    relevance, irrelevance = torch.sigmoid(scores), torch.sigmoid(-scores)
    if exposures is not None:
        unexposed = 1 - exposures
        log_exposure = torch.log(torch.where(exposures == 0, 1.0, exposures))  # a click there is impossible
    else:
        assert exposure_logits is not None
        exposures, unexposed = torch.sigmoid(exposure_logits), torch.sigmoid(-exposure_logits)
        log_exposure = F.logsigmoid(exposure_logits)
    clicked = -F.logsigmoid(scores) - log_exposure
    joint = exposures * relevance  # 1 - joint = (1 - x) + x (1 - p), which keeps its digits where joint is near 1
    not_clicked = torch.where(
        joint < 0.5, -torch.log1p(-joint.clamp(max=0.5)), -torch.log(unexposed + exposures * irrelevance)
    )
    return reduce(clicks * clicked + (1 - clicks) * not_clicked, reduction)
