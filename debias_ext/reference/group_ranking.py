"""`group_ranking` in plain torch: one lexicographic sort, then sums over blocks of tied rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from debias_ext._ranking import GroupRanking, checked_ks, checked_metrics, value_names


def _sum_by(index: Tensor, values: Tensor, n: int) -> Tensor:
    return values.new_zeros(n).index_add_(0, index, values)


@dataclass(frozen=True)
class _Rows:
    """Rows sorted by group, within a group by descending score, ties in their original order."""

    group: Tensor  # 0 .. G - 1
    score: Tensor
    label: Tensor
    weight: Tensor
    place: Tensor  # rows of the group before this one
    n_groups: int


@dataclass(frozen=True)
class _Blocks:
    """Runs of tied rows (or of single rows, when ties are broken)."""

    group: Tensor
    above: Tensor  # A: rows of the group above the block
    size: Tensor  # m
    positives: Tensor  # p
    hits_above: Tensor  # H: positives above the block
    gain: Tensor  # summed weight of the positives

    def inside(self, k: int) -> Tensor:
        """T: how many of a block's places lie within the first k."""
        return (k - self.above).clamp(min=0).minimum(self.size)


def _blocks(rows: _Rows, tied: bool) -> _Blocks:
    new = torch.ones_like(rows.group, dtype=torch.bool)
    if tied:
        new[1:] = (rows.group[1:] != rows.group[:-1]) | (rows.score[1:] != rows.score[:-1])
    block = new.cumsum(0) - 1
    n = int(new.sum())
    before = rows.label.cumsum(0) - rows.label
    first_of_group = rows.place[new] == 0
    group = rows.group[new]
    base = before[new][first_of_group][group]
    return _Blocks(
        group=group,
        above=rows.place[new],
        size=_sum_by(block, torch.ones_like(rows.place), n),
        positives=_sum_by(block, rows.label, n),
        hits_above=before[new] - base,
        gain=_sum_by(block, rows.label * rows.weight, n),
    )


def _auc(rows: _Rows, total: Tensor) -> Tensor:
    """Weighted share of (positive, negative) pairs in the right order, tied pairs counting one half."""
    tied = _blocks(rows, True)
    negatives = _blocks(_negatives_as_positives(rows), True).gain
    through = negatives.cumsum(0)
    group_total = _sum_by(tied.group, negatives, rows.n_groups)
    below = group_total.cumsum(0)[tied.group] - through
    pairs = _sum_by(tied.group, tied.gain * (below + negatives / 2), rows.n_groups)
    return pairs / (total * group_total)


def _negatives_as_positives(rows: _Rows) -> _Rows:
    return _Rows(rows.group, rows.score, 1 - rows.label, rows.weight, rows.place, rows.n_groups)


def _prefix(terms: Tensor) -> Tensor:
    return torch.cat([terms.new_zeros(1), terms.cumsum(0)])


def _discount_sums(n: int, like: Tensor) -> Tensor:
    return _prefix(1 / torch.log2(torch.arange(2, n + 2, dtype=torch.float64, device=like.device)))


def _dcg(blocks: _Blocks, k: int, n_groups: int) -> Tensor:
    sums = _discount_sums(min(k, int(blocks.size.sum())), blocks.gain)
    end = sums[blocks.above.clamp(max=k) + blocks.inside(k)] - sums[blocks.above.clamp(max=len(sums) - 1)]
    return _sum_by(blocks.group, blocks.gain / blocks.size * end, n_groups)


def _ideal_dcg(rows: _Rows, k: int) -> Tensor:
    positive = rows.label > 0
    weight, group = rows.weight[positive], rows.group[positive]
    order = torch.argsort(weight, descending=True, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    weight, group = weight[order], group[order]
    start = _prefix(torch.bincount(group, minlength=rows.n_groups))[group]
    place = torch.arange(len(group), device=group.device) - start
    gains = torch.where(place < k, weight / torch.log2(place.double() + 2), 0.0)
    return _sum_by(group, gains, rows.n_groups)


def _hits(blocks: _Blocks, k: int, n_groups: int) -> Tensor:
    return _sum_by(blocks.group, blocks.gain * blocks.inside(k) / blocks.size, n_groups)


def _mrr(blocks: _Blocks, k: int, n_groups: int) -> Tensor:
    """The first positive lies in the first block that has one, t-th in it with a chance that follows from t - 1."""
    first = (blocks.positives > 0) & (blocks.hits_above == 0)
    group, above, size, positives = (v[first] for v in (blocks.group, blocks.above, blocks.size, blocks.positives))
    chance = positives / size
    value = torch.zeros_like(chance)
    for t in range(1, 1 + min(k, int(size.max()) if len(size) else 0)):
        value += torch.where(above + t <= k, chance / (above + t), 0.0)
        chance = chance * ((size - t - positives + 1) / (size - t).clamp(min=1)).clamp(min=0)
    return _sum_by(group, value, n_groups)


def _precision_sum(blocks: _Blocks, k: int, hits: Tensor, places: Tensor) -> Tensor:
    """E of w_j y_j Prec@j summed over a block's first T places, when `hits` positives lie uniformly on `places`.

    Place t holds a positive with chance hits / places; it sees H + 1 + (t - 1) (hits - 1) / (places - 1) hits so far.
    """
    inside = blocks.inside(k)
    harmonic = _prefix(
        1 / torch.arange(1, 1 + int((blocks.above + inside).max()), device=hits.device, dtype=torch.float64)
    )
    inverse = harmonic[blocks.above + inside] - harmonic[blocks.above]
    slope = inside - (blocks.above + 1) * inverse  # sum of (t - 1) / (A + t)
    mean_weight = blocks.gain / blocks.positives.clamp(min=1)
    seen = (blocks.hits_above + 1) * inverse + (hits - 1) / (places - 1).clamp(min=1) * slope
    return mean_weight * hits / places.clamp(min=1) * seen


def _map_by_hits(blocks: _Blocks, k: int, n_groups: int) -> Tensor:
    whole = blocks.above + blocks.size <= k
    straddling = (blocks.above < k) & ~whole
    sums = _precision_sum(blocks, k, blocks.positives, blocks.size)
    before = _sum_by(blocks.group[whole], sums[whole], n_groups)
    hits = _sum_by(blocks.group[whole], blocks.positives[whole], n_groups)
    value = before / hits.clamp(min=1)
    if not bool(straddling.any()):
        return value
    cut = _Blocks(*(getattr(blocks, name)[straddling] for name in _Blocks.__dataclass_fields__))
    inside, before, expected = cut.inside(k), before[cut.group], torch.zeros_like(cut.gain)

    def log_choose(n: Tensor, r: Tensor) -> Tensor:
        n, r = n.double(), r.double()
        return torch.lgamma(n + 1) - torch.lgamma(r + 1) - torch.lgamma(n - r + 1)

    for count in range(0, 1 + int(cut.positives.minimum(inside).max())):  # hypergeometric number of hits
        h = torch.full_like(cut.gain, count)
        possible = (h <= cut.positives.minimum(inside)) & (inside - h <= cut.size - cut.positives)
        log_chance = log_choose(inside, h) + log_choose(cut.size - inside, cut.positives - h)
        chance = torch.where(possible, torch.exp(log_chance - log_choose(cut.size, cut.positives)), 0.0)
        expected += chance * (before + _precision_sum(cut, k, h, inside)) / (cut.hits_above + h).clamp(min=1)
    value[cut.group] = expected
    return value


def _map(blocks: _Blocks, k: int, n_groups: int, map_norm: str, total: Tensor, positives: Tensor) -> Tensor:
    if map_norm == "hits":
        return _map_by_hits(blocks, k, n_groups)
    sums = _sum_by(blocks.group, _precision_sum(blocks, k, blocks.positives, blocks.size), n_groups)
    return sums / (total if map_norm == "positives" else positives.clamp(max=k))


def _sorted_rows(
    scores: Tensor, labels: Tensor, groups: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, _Rows]:
    order = torch.argsort(scores.double(), descending=True, stable=True)
    order = order[torch.argsort(groups[order], stable=True)]
    ids, group, sizes = torch.unique_consecutive(groups[order].long(), return_inverse=True, return_counts=True)
    label = labels.double()[order]
    weight = torch.ones_like(label) if weights is None else weights.double()[order]
    place = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[group]
    return ids, sizes, _Rows(group, scores.double()[order], label, weight, place, len(ids))


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
    """The twin of `debias_ext.group_ranking`; its arguments are taken as valid."""
    ks, metrics = checked_ks(ks), checked_metrics(metrics)
    names = value_names(metrics, ks)
    ids, sizes, rows = _sorted_rows(scores.detach(), labels, groups, weights)
    n_groups = rows.n_groups
    if n_groups == 0:
        return GroupRanking(names, rows.weight.new_empty(len(names), 0), ids, sizes, sizes)
    positives = _sum_by(rows.group, rows.label, n_groups)
    total = _sum_by(rows.group, rows.label * rows.weight, n_groups)
    blocks = _blocks(rows, ties == "expected")
    values = []
    for name in names:
        metric, _, cut = name.partition("@")
        k = int(cut) if cut else len(scores)
        if metric == "auc":
            values.append(_auc(rows, total))
            continue
        value = {
            "ndcg": lambda k: _dcg(blocks, k, n_groups) / _ideal_dcg(rows, k),
            "dcg": lambda k: _dcg(blocks, k, n_groups),
            "map": lambda k: _map(blocks, k, n_groups, map_norm, total, positives),
            "recall": lambda k: _hits(blocks, k, n_groups) / total,
            "precision": lambda k: _hits(blocks, k, n_groups) / k,
            "mrr": lambda k: _mrr(blocks, k, n_groups),
        }[metric](k)
        values.append(value if metric == "precision" else torch.where(positives > 0, value, torch.nan))
    stacked = torch.stack(values) if values else rows.weight.new_empty(0, n_groups)
    return GroupRanking(names, stacked, ids, sizes, positives.long())
