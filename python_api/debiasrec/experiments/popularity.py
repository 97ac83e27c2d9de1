"""Popular and unpopular items: metrics on the least popular, the top five, and InterD's coefficients."""

from __future__ import annotations

import numpy as np
import torch

import debias_ext

from ..data import Interactions, Split
from ..evaluation.compare import Figures
from ..evaluation.evaluate import score_rows
from ..evaluation.metrics import harmonic_mean, user_metrics
from ..evaluation.parts import TESTS, make_part, ranking_users
from ..methods import Method

SHARES = (0.3, 0.8)  # of the items, least popular first
POPULAR = 0.2  # of the items, most popular first
TOP = 5
GROUPS = 10
MISSING = 100_000  # unrated pairs that stand for all of them
INDIFFERENT = 1e-4  # teachers this near to each other leave the coefficient undefined


def popularity(model: Method, split: Split) -> Figures:
    """UAUC of the least popular items and their F1, hits and errors in the top five, and InterD's coefficients.

    Args:
        model: a fitted method.
        split: with both tests. Popularity is the number of biased training ratings; ties go by item.

    Returns:
        (test, metric) to value. Hits and errors: positive and negative test rows among a user's five best, of the 20%
        most popular items and of the rest; means over the users of the test.
    """
    order = np.argsort(np.bincount(split.train.items, minlength=split.dataset.n_items), kind="stable")
    figures: dict[tuple[str, str], float] = {}
    for share in SHARES:
        chosen = order[: int(share * len(order))]
        name = f"{share:.0%} least popular"
        for test in TESTS:
            figures[f"{test}, {name}", "uauc"] = _uauc(model, split, test, chosen)
        figures[f"both, {name}", "f1_uauc"] = harmonic_mean(*(figures[f"{test}, {name}", "uauc"] for test in TESTS))
    popular = order[len(order) - int(POPULAR * len(order)) :]
    for test in TESTS:
        figures |= _top(model, split, test, popular)
    if hasattr(model, "gamma_missing"):
        figures |= _coefficients(model, split, order)
    return figures


def _rows(split: Split, test: str) -> Interactions:
    return getattr(split, TESTS[test])


def _uauc(model: Method, split: Split, test: str, items: np.ndarray) -> float:
    rows = _rows(split, test)
    rows = rows.take(np.isin(rows.items, items))
    part = make_part(test, rows, split.dataset.positives(rows.ratings))
    return user_metrics(score_rows(model.name, model, rows), part, (TOP,), (), ranking_users(split))["uauc"]


def _top(model: Method, split: Split, test: str, popular: np.ndarray) -> Figures:
    rows = _rows(split, test)
    scores = score_rows(model.name, model, rows)
    order = np.lexsort((rows.items, -scores, rows.users))
    users = rows.users[order]
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    rank = np.arange(len(users)) - np.repeat(starts, np.diff(np.r_[starts, len(users)]))
    best = rows.take(order[rank < TOP])
    positive, is_popular = split.dataset.positives(best.ratings), np.isin(best.items, popular)
    kinds = {"hits": positive, "errors": ~positive}
    groups = {"popular": is_popular, "rest": ~is_popular}
    return {
        (test, f"{kind}@{TOP}_{items}"): float((chosen & group).sum() / len(starts))
        for kind, chosen in kinds.items()
        for items, group in groups.items()
    }


def _coefficients(model: Method, split: Split, order: np.ndarray) -> Figures:
    """Mean weight of InterD's biased teacher by item group, the least popular items first."""
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.arange(len(order)) * GROUPS // len(order)
    rated = Interactions.concatenate(*(rows for rows in (split.train, split.uniform_train) if rows is not None))
    data, pairs = split.dataset, (torch.tensor(rated.users), torch.tensor(rated.items))
    sampler = debias_ext.PairSampler(*pairs, n_users=data.n_users, n_items=data.n_items, seed=0)
    users, items = (column.numpy() for column in sampler.unobserved(MISSING))
    known = {
        "rated pairs": (rated.users, rated.items, model.encode(rated.ratings), model.gamma_observed),
        "missing pairs": (users, items, model.predict(users, items), model.gamma_missing),
    }
    figures = {}
    for name, (users, items, values, gamma) in known.items():
        weights = biased_weight(model, users, items, values, gamma)
        for number in range(GROUPS):
            own = weights[group[items] == number]
            figures[f"item group {number + 1}, {name}", "biased_weight"] = float(np.nanmean(own))
    return figures


def biased_weight(model: Method, users: np.ndarray, items: np.ndarray, known: np.ndarray, gamma: float) -> np.ndarray:
    """w_b of every pair; NaN where the teachers agree.

    The slope of (s - r*)^2 at s = 0 is -2 r*, and r* = w_b rb + (1 - w_b) rd.

    Args:
        model: a fitted InterD.
        users, items: integer [n].
        known: float [n], the ratings, or the student's scores where there are none.
        gamma: of these pairs.

    Returns:
        float64 [n].
    """
    biased, debiased = (
        torch.tensor(teacher.predict(users, items), dtype=torch.float64)
        for teacher in (model.biased_teacher_, model.debiased_teacher_)
    )
    scores = torch.zeros_like(biased, requires_grad=True)
    ratings = torch.tensor(known, dtype=torch.float64)
    loss = debias_ext.interd_loss(scores, biased, debiased, ratings, gamma=gamma, reduction="sum")
    target = torch.autograd.grad(loss, scores)[0] / -2
    gap = biased - debiased
    return torch.where(gap.abs() > INDIFFERENT, (target - debiased) / gap, torch.nan).numpy()
