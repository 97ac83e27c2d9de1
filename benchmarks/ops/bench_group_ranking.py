"""`group_ranking`, AUC and NDCG@5 per user, against numpy, plain torch, and loops over users."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from debias_ext import group_ranking, reference

from ..harness import OURS, Benchmark, Case, Goal, Settings

ROWS, ROWS_PER_USER, K = 1_000_000, 100, 5
LOOP_ROWS = 200_000  # loops over users take seconds
NUMPY, TORCH, SKLEARN, TORCHMETRICS = "numpy lexsort", "plain torch", "scikit-learn", "torchmetrics"
Rows = tuple[Tensor, Tensor, Tensor]


def ranked_rows(rows: int, order: str, seed: int) -> Rows:
    """Scores without ties, labels of which 30% are positive, and users: "any" order, "sorted", or "pareto" sizes."""
    random = np.random.default_rng(seed)
    n_users = max(1, rows // ROWS_PER_USER)
    if order == "pareto":
        share = random.pareto(1.0, n_users) + 0.1
        users = random.choice(n_users, rows, p=share / share.sum())
    else:
        users = random.integers(0, n_users, rows)
    if order == "sorted":
        users.sort()
    scores, labels = random.standard_normal(rows, dtype=np.float32), random.random(rows) < 0.3
    return torch.from_numpy(scores), torch.from_numpy(labels), torch.from_numpy(users)


def with_numpy(scores: np.ndarray, labels: np.ndarray, users: np.ndarray) -> list[np.ndarray]:
    """Everything at once: one lexsort, then sums over runs of tied rows and over users."""
    order = np.lexsort((-scores, users))
    score, hits, user = scores[order], labels[order].astype(np.float64), users[order]
    new_user = np.append(True, user[1:] != user[:-1])
    new_block = new_user.copy()
    new_block[1:] |= score[1:] != score[:-1]
    user_start, block_start = np.flatnonzero(new_user), np.flatnonzero(new_block)
    first_block = np.flatnonzero(new_user[block_start])
    blocks = np.diff(np.append(first_block, len(block_start)))
    size = np.diff(np.append(block_start, len(score)))
    above = block_start - np.repeat(user_start, blocks)
    positives = np.add.reduceat(hits, block_start)
    negatives = size - positives
    n_positive, n_negative = np.add.reduceat(positives, first_block), np.add.reduceat(negatives, first_block)
    passed = np.cumsum(negatives)
    below = np.repeat(n_negative + np.append(0, passed)[first_block], blocks) - passed
    discounts = np.append(0, np.cumsum(1 / np.log2(np.arange(2, K + 2))))
    inside = discounts[np.minimum(above + size, K)] - discounts[np.minimum(above, K)]
    dcg = np.add.reduceat(positives / size * inside, first_block)
    ideal = discounts[np.minimum(n_positive, K).astype(int)]
    with np.errstate(invalid="ignore"):
        auc = np.add.reduceat(positives * (below + negatives / 2), first_block) / (n_positive * n_negative)
        return [auc, dcg / ideal]


def per_user(ranking: dict[str, Tensor]) -> list[Tensor]:
    return [ranking["auc"], ranking[f"ndcg@{K}"]]


def build(order: str, rows: int, settings: Settings) -> Case:
    inputs = ranked_rows(rows, order, settings.seed)
    arrays = [tensor.numpy() for tensor in inputs]
    placed = [tensor.to(settings.device) for tensor in inputs]
    alternatives: dict[str, Callable[[], object]] = {
        OURS: lambda: per_user(group_ranking(*placed, ks=(K,))),
        NUMPY: lambda: with_numpy(*arrays),
        TORCH: lambda: per_user(reference.group_ranking(*placed, ks=(K,))),
    }
    return Case(alternatives, bytes_moved=rows * (4 + 8 + 1))


def with_sklearn(scores: np.ndarray, labels: np.ndarray, users: np.ndarray) -> list[float]:
    from sklearn.metrics import ndcg_score, roc_auc_score

    order = np.argsort(users, kind="stable")
    ends = np.cumsum(np.bincount(users))[:-1]
    auc, ndcg = [], []
    for rows in np.split(order, ends):
        if 0 < labels[rows].sum() < len(rows):
            auc.append(roc_auc_score(labels[rows], scores[rows]))
            ndcg.append(ndcg_score(labels[rows][None], scores[rows][None], k=K))
    return [float(np.mean(auc)), float(np.mean(ndcg))]


def with_torchmetrics(scores: Tensor, labels: Tensor, users: Tensor) -> list[Tensor]:
    from torchmetrics.retrieval import RetrievalAUROC, RetrievalNormalizedDCG

    return [
        RetrievalAUROC(empty_target_action="skip")(scores, labels, indexes=users),
        RetrievalNormalizedDCG(empty_target_action="skip", top_k=K)(scores, labels, indexes=users),
    ]


def mean_over_users(inputs: list[Tensor]) -> list[float]:
    mean = group_ranking(*inputs, ks=(K,)).mean(require="both")
    return [mean["auc"], mean[f"ndcg@{K}"]]


def build_loops(rows: int, settings: Settings) -> Case:
    """Means over users: what these libraries return."""
    inputs = ranked_rows(rows, "any", settings.seed)
    arrays = [tensor.numpy() for tensor in inputs]
    placed = [tensor.to(settings.device) for tensor in inputs]
    alternatives: dict[str, Callable[[], object]] = {
        OURS: lambda: mean_over_users(placed),
        SKLEARN: lambda: with_sklearn(*arrays),
    }
    if find_spec("torchmetrics") is not None:
        alternatives[TORCHMETRICS] = lambda: with_torchmetrics(*placed)
    return Case(alternatives, bytes_moved=rows * (4 + 8 + 1))


BENCHMARKS = [
    Benchmark(
        f"group_ranking_{order}",
        f"AUC + NDCG@5 of 10,000 users, {work}",
        ROWS,
        partial(build, order),
        {NUMPY: goal},
    )
    for order, work, goal in (
        ("any", "rows in any order", Goal(20, 35)),
        ("sorted", "rows sorted by user", Goal(35, 60)),
        ("pareto", "Pareto group sizes", Goal(8, 20)),
    )
] + [
    Benchmark(
        "group_ranking_loops",
        "AUC + NDCG@5 of 2,000 users, mean",
        LOOP_ROWS,
        build_loops,
        {SKLEARN: Goal(1000), TORCHMETRICS: Goal(200)},
    )
]
