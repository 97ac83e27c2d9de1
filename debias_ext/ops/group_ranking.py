"""Ranking metrics by group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._inputs import check_tensor
from debias_ext._ranking import MAP_NORMS, TIES, GroupRanking, checked_ks, checked_metrics, one_of


def group_ranking(
    scores: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    ks: Sequence[int] = (5,),
    metrics: Sequence[str] = ("auc", "ndcg"),
    weights: Tensor | None = None,
    ties: str = "expected",
    map_norm: str = "hits",
    validate: bool = True,
) -> GroupRanking:
    """Ranking metrics by group."""
    ks, metrics = checked_ks(ks), checked_metrics(metrics)
    one_of("ties", ties, TIES)
    one_of("map_norm", map_norm, MAP_NORMS)
    for name, tensor in (("scores", scores), ("labels", labels), ("groups", groups)):
        check_tensor(name, tensor)
        if tensor.dim() != 1 or len(tensor) != len(scores):
            raise ValueError(f"{name} must have shape [{len(scores)}], got {list(tensor.shape)}")
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise ValueError("labels must be 0 or 1")
    if bool(torch.isnan(scores).any()):
        raise ValueError("scores must not be NaN")
    if weights is not None and not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError("weights must be finite and at least 0")
    return reference.group_ranking(
        scores, labels, groups, ks=ks, metrics=metrics, weights=weights, ties=ties, map_norm=map_norm
    )
