"""Ranking metrics by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from debias_ext._inputs import check_tensor, one_of, validated
from debias_ext._ranking import (
    MAP_NORMS,
    METRICS,
    TIES,
    GroupRanking,
    checked_ks,
    checked_metrics,
    value_names,
)

_op = torch.ops.debias_ext.group_ranking.default
_NARROW_LABELS = (torch.float16, torch.bfloat16, torch.int16)


@torch.library.register_fake("debias_ext::group_ranking")
def _fake(scores, labels, groups, weights, ks, metrics, expected, map_norm, validate):
    n_groups = torch.library.get_ctx().new_dynamic_size()
    names = value_names([name for bit, name in enumerate(METRICS) if metrics >> bit & 1], ks)
    ids = groups.new_empty(n_groups, dtype=torch.int64)
    values = scores.new_empty((len(names), n_groups), dtype=torch.float64)
    return ids, values, torch.empty_like(ids), torch.empty_like(ids)


def _no_derivative(ctx: Any, *grads: Tensor | None) -> tuple[None, ...]:
    raise RuntimeError("group_ranking has no derivative: ranking metrics are piecewise constant in the scores")


torch.library.register_autograd("debias_ext::group_ranking", _no_derivative)


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
    """Ranking metrics of every group (user) in one sort: AUC, NDCG, DCG, MAP, recall, precision and MRR at several k.

    With y_j the label and w_j the weight (1 without weights) of the row at rank j of its group, n+ its positives and W+
    their summed weight:

    - auc: the weighted share of (positive, negative) pairs in the right order, tied pairs one half. Needs both classes.
    - dcg@k: sum over j <= k of w_j y_j / log2(j + 1); dcg the same over the whole group.
    - ndcg@k, ndcg: DCG over the DCG of the best order (weights descending, min(k, n+) terms).
    - recall@k: sum over j <= k of w_j y_j / W+; with w = 1 / propensity the self-normalised (SNIPS) estimate.
    - precision@k: the same sum divided by k, also in groups of fewer rows. Has a value in every group.
    - map@k: sum over j <= k of w_j y_j Prec@j, Prec@j = unweighted hits up to j / j, divided by the number of hits
      within k ("hits"; 0 without a hit), by min(k, n+) ("min"), or by W+ ("positives").
    - mrr@k: 1 / rank of the first positive if that is at most k, else 0; unweighted.

    Args:
        scores: [N], float32 or float64; on CUDA float16 and bfloat16 as well. Infinities are fine; -0.0 equals 0.0.
        labels: [N], 0 or 1, in any bool, float or integer dtype.
        groups: [N], int32 or int64, any values in any order. Ascending ids are fastest.
        ks: cut-offs, at least 1, at most 64 of them.
        metrics: names out of "auc", "ndcg", "dcg", "map", "recall", "precision", "mrr".
        weights: [N], finite and at least 0, any float dtype; None means 1.
        ties: "expected": each value's expectation over random orders of the rows that tie; "stable": the earlier row
            ranks first. AUC counts tied pairs one half in both.
        map_norm: "hits", "min" or "positives".
        validate: on CUDA, check the values, at the price of a synchronisation; unchecked NaN scores and labels have no
            meaning. On the CPU values are always checked.

    Returns:
        A dict: "auc", "ndcg", "ndcg@5", ... -> float64 [G] in ascending group id, NaN where a group has no value (no
        positive row; for "auc" one class alone, or all weight on one). `.groups`, `.sizes` and `.positives` are int64
        [G]; `.valid[name]` is a bool mask; `.dropped` counts groups without a value; `.mean(require="both")` averages.

    Raises:
        ValueError: a shape, dtype, device, value or option other than the above; the message names the argument.

    Notes:
        No derivative: the results never require grad. The same bits for every number of threads and every launch. The
        number of groups is read back from the device: one synchronisation on CUDA. Memory: 4 to 8 bytes a row for keys
        (16 with weights or stable ties).

    Source:
        AUC by mid-ranks: Hanley and McNeil 1982, "The Meaning and Use of the Area under a ROC Curve". DCG, NDCG:
        Jarvelin and Kekalainen 2002, "Cumulated Gain-Based Evaluation of IR Techniques". Ties by expectation: McSherry
        and Najork 2008, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
        Scores". Weights: Yang et al. 2018, "Unbiased Offline Recommender Evaluation for Missing-Not-At-Random Implicit
        Feedback"; self-normalised: Swaminathan and Joachims 2015, eq. 8.
    """
    for name, tensor in (("scores", scores), ("labels", labels), ("groups", groups)):
        check_tensor(name, tensor)
    if weights is not None:
        check_tensor("weights", weights)
        if not weights.is_floating_point():
            raise ValueError(f"weights must have a float dtype, got {weights.dtype}")
    one_of("ties", ties, TIES)
    one_of("map_norm", map_norm, MAP_NORMS)
    cuts, names = checked_ks(ks), checked_metrics(metrics)
    ids, values, sizes, positives = _op(
        scores.detach(),
        labels.detach().float() if labels.dtype in _NARROW_LABELS else labels.detach(),
        groups,
        None if weights is None else weights.detach().double(),
        cuts,
        sum(1 << METRICS.index(name) for name in names),
        ties == "expected",
        MAP_NORMS.index(map_norm),
        validated(validate, scores),
    )
    return GroupRanking(value_names(names, cuts), values, ids, sizes, positives)
