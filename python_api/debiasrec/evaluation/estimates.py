"""What the debiased test would say, estimated from the biased test when there are no uniform ratings.

Every row of the biased test counts 1 / q, with popularity propensities q fitted on the training part. SNIPS divides by
the sum of the weights (per user for rankings), so the scale of q cancels. IPS divides by the number of items: first q
is scaled such that the weights sum to the number of user-item pairs (LTD section 5.4), then a user's DCG@k is summed
with weights and divided by the number of items.
"""

from __future__ import annotations

import numpy as np
import torch

import debias_ext

from ..data import Split
from ..propensity import PopularityPropensity
from .metrics import errors
from .parts import TestPart, ranking_users

SNIPS_METRICS = ("ndcg", "recall")


def estimate_names(ks: tuple[int, ...]) -> dict[str, list[str]]:
    """The metrics under ``snips`` and under ``ips``."""
    ranked = [f"{metric}@{k}" for metric in SNIPS_METRICS for k in ks]
    return {"snips": ["uauc", *ranked, "mse", "mae"], "ips": [f"dcg@{k}" for k in ks]}


def inverse_propensities(part: TestPart, split: Split) -> np.ndarray:
    """1 / q of every row of a test, scaled to sum to the number of user-item pairs; float64 [n]."""
    rows = part.rows
    weights = 1.0 / PopularityPropensity().fit(split).predict(rows.users, rows.items, rows.ratings)
    return weights * (split.dataset.n_users * split.dataset.n_items / weights.sum())


def estimates(
    scores: np.ndarray, targets: np.ndarray, part: TestPart, split: Split, ks: tuple[int, ...]
) -> dict[tuple[str, str], float]:
    """SNIPS and IPS estimates from one test.

    Args:
        scores: float [n], one per row of the test.
        targets: float [n], the ratings in the model's coding.
        part: the biased test.
        split: where the training part for the propensities comes from.
        ks: list lengths.

    Returns:
        (estimate, metric) to value, averaged over the same users as on a test.

    Source:
        Biif section 5.1 (SNIPS over a user's positives); Schnabel et al. 2016, eq (8) (IPS).
    """
    weights = inverse_propensities(part, split)
    ranking = debias_ext.group_ranking(
        torch.from_numpy(scores),
        part.labels,
        part.groups,
        ks=ks,
        metrics=("auc", "dcg", *SNIPS_METRICS),
        weights=torch.from_numpy(weights),
    )
    means = ranking.mean(ranking_users(split))
    values = {("snips", "uauc"): means["auc"]}
    values |= {("snips", f"{metric}@{k}"): means[f"{metric}@{k}"] for metric in SNIPS_METRICS for k in ks}
    values |= {("ips", f"dcg@{k}"): means[f"dcg@{k}"] / split.dataset.n_items for k in ks}
    return values | {("snips", name): value for name, value in errors(scores, targets, weights).items()}
