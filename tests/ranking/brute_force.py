"""Ranking metrics by their definitions: one group at a time, ties by averaging over every order of the tied rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

Row = tuple[int, float]  # label, weight


def auc(scores: Sequence[float], rows: Sequence[Row]) -> float:
    right = pairs = 0.0
    for (s, (y, w)), (t, (z, v)) in itertools.product(zip(scores, rows, strict=True), repeat=2):
        if y == 1 and z == 0:
            pairs += w * v
            right += w * v * (1.0 if s > t else 0.5 if s == t else 0.0)
    return right / pairs if pairs else math.nan


def dcg(order: Sequence[Row], k: int) -> float:
    return sum(w * y / math.log2(rank + 1) for rank, (y, w) in enumerate(order[:k], 1))


def ideal(order: Sequence[Row], k: int) -> float:
    return dcg(sorted(order, key=lambda row: -row[0] * row[1]), k)


def map_at(order: Sequence[Row], k: int, norm: str) -> float:
    total = 0.0
    for rank, (y, w) in enumerate(order[:k], 1):
        if y:
            total += w * sum(label for label, _ in order[:rank]) / rank
    hits = sum(y for y, _ in order[:k])
    if norm == "hits":
        return total / hits if hits else 0.0
    positives = sum(y for y, _ in order)
    return total / (min(k, positives) if norm == "min" else sum(y * w for y, w in order))


def of_order(order: Sequence[Row], k: int, norm: str) -> dict[str, float]:
    """The metrics at k of one ranking of a group with a positive row."""
    gain = sum(y * w for y, w in order[:k])
    first = next((rank for rank, (y, _) in enumerate(order, 1) if y), math.inf)
    weight = sum(y * w for y, w in order)
    best = ideal(order, k)
    return {
        "ndcg": dcg(order, k) / best if best else math.nan,
        "dcg": dcg(order, k),
        "map": map_at(order, k, norm) if norm != "positives" or weight else math.nan,
        "recall": gain / weight if weight else math.nan,
        "precision": gain / k,
        "mrr": 1 / first if first <= k else 0.0,
    }


def orders(scores: Sequence[float], rows: Sequence[Row], ties: str) -> list[list[Row]]:
    """Every ranking that the scores allow; for "stable" the one in which the earlier row wins."""
    by_score = {score: [r for s, r in zip(scores, rows, strict=True) if s == score] for score in set(scores)}
    blocks = [by_score[score] for score in sorted(by_score, reverse=True)]
    if ties == "stable":
        return [[row for block in blocks for row in block]]
    choices = [list(itertools.permutations(block)) for block in blocks]
    return [[row for block in chosen for row in block] for chosen in itertools.product(*choices)]


def group_metrics(
    scores: Sequence[float], rows: Sequence[Row], ks: Sequence[int], ties: str, norm: str
) -> dict[str, float]:
    """Name -> value of one group."""
    has_positive = any(y for y, _ in rows)
    possible = orders(scores, rows, ties)
    values = {"auc": auc(scores, rows)}
    for name, k in [("", len(rows)), *((f"@{k}", k) for k in ks)]:
        all_values = [of_order(order, k, norm) for order in possible] if has_positive else []
        for metric in ("ndcg", "dcg", "map", "recall", "precision", "mrr"):
            if not has_positive:
                value = 0.0 if metric == "precision" else math.nan
            else:
                value = float(np.mean([each[metric] for each in all_values]))
            if name or metric in ("ndcg", "dcg"):
                values[metric + name] = value
    return values
