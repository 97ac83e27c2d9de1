"""Metrics of one score vector on one test. All ranking goes through ``debias_ext.group_ranking``.

Sources: global AUC, Bal section 5.1 and AutoDebias section 5.1; UAUC, NDCG@k and their F1, InterD section 4.1;
DCG@k, MAP@k and recall@k, Biif section 5.1.
"""

from __future__ import annotations

import numpy as np
import torch

import debias_ext

from .parts import TestPart


def metric_names(ks: tuple[int, ...], lists: tuple[str, ...]) -> list[str]:
    """The metrics of one test in the order of the table, `lists` those of lists of k items."""
    return ["uauc", "auc", *(f"{metric}@{k}" for metric in lists for k in ks), "mse", "mae"]


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is the better one."""
    return metric not in {"mse", "mae", "rmse"}


def harmonic_mean(first: float, second: float) -> float:
    """2ab / (a + b); 0 where both are 0, NaN where one is missing (InterD section 4.1)."""
    total = first + second
    return 0.0 if total == 0 else 2 * first * second / total


def global_auc(scores: np.ndarray, part: TestPart) -> float:
    """AUC over all rows of a test together, mid-ranks for ties; NaN when a class is empty.

    Args:
        scores: float [n], one per row of the test.
        part: the test.

    Returns:
        The AUC in [0, 1].
    """
    one_group = torch.zeros(len(part.labels), dtype=torch.int64)
    return float(debias_ext.group_ranking(torch.from_numpy(scores), part.labels, one_group, metrics=("auc",))["auc"][0])


def user_metrics(
    scores: np.ndarray, part: TestPart, ks: tuple[int, ...], lists: tuple[str, ...], require: str
) -> dict[str, float]:
    """UAUC over users with both classes, and the @k metrics over the users that ``require`` keeps.

    Args:
        scores: float [n], one per row of the test.
        part: the test.
        ks: list lengths, each at least 1.
        lists: the @k metrics, names that ``debias_ext.group_ranking`` knows.
        require: ``"defined"`` (users with a positive) or ``"both"`` (users with both classes).

    Returns:
        Metric name to mean over users; NaN when no user is left.
    """
    metrics = ("auc", *lists)
    ranking = debias_ext.group_ranking(torch.from_numpy(scores), part.labels, part.groups, ks=ks, metrics=metrics)
    means = ranking.mean(require)
    return {"uauc": means["auc"]} | {name: value for name, value in means.items() if "@" in name}


def errors(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
    """Mean squared and mean absolute error against the targets in the model's own coding; weighted means if asked."""
    difference = np.abs(scores.astype(np.float64) - targets)
    return {
        "mse": float(np.average(difference**2, weights=weights)),
        "mae": float(np.average(difference, weights=weights)),
    }
