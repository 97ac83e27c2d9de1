"""Metrics of user groups, and how much more they differ than the groups themselves do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

import debias_ext

from ..data import Split
from ..data.groups import user_groups
from ..errors import DebiasRecError
from ..methods.clicks import ClickMethod
from ..methods.group_teachers import group_teachers
from .evaluate import score_rows

if TYPE_CHECKING:
    from ..data import Interactions
    from ..methods import Method

GROUPINGS = ("activeness", "consistency")
GROUPS = 5
METRICS = ("auc", "recall@5", "recall@10", "ndcg@5", "ndcg@10")

Figures = dict[tuple[str, str], float]


def group_metrics(models: Sequence[Method], split: Split, groups: np.ndarray) -> np.ndarray:
    """AUC, Recall@5 and @10, NDCG@5 and @10 on the biased test, averaged over the users of each group.

    Args:
        models: one fitted method for all groups, or one for each.
        split: with a biased test.
        groups: int64 [U], from 0 without gaps; every group has a user in the test.

    Returns:
        float64 [groups, 5], in the order of METRICS.

    Raises:
        DebiasRecError: no test, or another number of models.
    """
    count = int(groups.max()) + 1
    if split.biased_test is None or len(models) not in (1, count):
        raise DebiasRecError(f"expected a split with a biased test, and 1 or {count} models, got {len(models)}")
    every = list(models) * count if len(models) == 1 else models
    rows = split.biased_test
    parts = [rows.take(groups[rows.users] == group) for group in range(count)]
    return np.stack([_metrics(model, split, part) for model, part in zip(every, parts, strict=True)])


def _metrics(model: Method, split: Split, rows: Interactions) -> np.ndarray:
    scores = torch.from_numpy(score_rows(model.name, model, rows))
    labels = torch.from_numpy(split.dataset.positives(rows.ratings).astype(np.uint8))
    ranking = debias_ext.group_ranking(
        scores, labels, torch.tensor(rows.users), ks=(5, 10), metrics=("auc", "recall", "ndcg")
    )
    means = ranking.mean()
    return np.array([means[metric] for metric in METRICS])


def heterogeneity(model: Method, split: Split) -> Figures:
    """How far a method's metrics lie apart between five user groups, beyond what models of each group alone have.

    For every metric, S_h is the standard deviation (ddof=1) over the groups, and S_h* that of plain models of the same
    base, each fitted to one group and tested on it. Both and their difference are averaged over AUC, Recall@5 and @10
    and NDCG@5 and @10, in per cent.

    Args:
        model: a fitted click model.
        split: what it was fitted to.

    Returns:
        ("groups by activeness" or "groups by consistency", "heterogeneity", "spread" or "own_spread") to the mean
        difference, S_h and S_h*; and ("activeness group 1", metric), ... to the metrics of the groups. Nothing for
        methods that are no click models.

    Source: Zhang et al., CausalD, TKDE 2023, eq (6)-(8).
    """
    figures: Figures = {}
    for by in GROUPINGS if isinstance(model, ClickMethod) else ():
        groups = user_groups(split, by, GROUPS)
        unified = group_metrics([model], split, groups)
        alone = group_metrics(group_teachers(model, split, by, GROUPS), split, groups)
        spread, own = (100.0 * values.std(0, ddof=1).mean() for values in (unified, alone))
        for name, value in (("heterogeneity", spread - own), ("spread", spread), ("own_spread", own)):
            figures[f"groups by {by}", name] = float(value)
        for group, values in enumerate(unified):
            cells = zip(METRICS, values, strict=True)
            figures |= {(f"{by} group {group + 1}", metric): float(value) for metric, value in cells}
    return figures
