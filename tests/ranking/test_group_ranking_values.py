"""group_ranking computes the metrics of its definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking.brute_force import group_metrics
from sklearn.metrics import ndcg_score, roc_auc_score
from torch import Tensor

import debias_ext
from debias_ext import group_ranking

METRICS = ("auc", "ndcg", "dcg", "map", "recall", "precision", "mrr")
TIES = ("expected", "stable")
NORMS = ("hits", "min", "positives")
KS = (1, 2, 3, 5, 20)


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual.cpu(), expected.cpu(), rtol=tolerance, atol=tolerance, equal_nan=True)


def tiny_groups(seed: int, n: int = 60) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Groups of about six rows with few distinct scores, some with one class alone."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(-2, n // 6 - 2, (n,), generator=generator)
    keep = torch.stack([(groups[: i + 1] == groups[i]).sum() <= 7 for i in range(n)])
    scores = torch.randint(0, 4, (n,), generator=generator) / 4 - 0.5
    labels = torch.rand(n, generator=generator) < torch.tensor([0.15, 0.5, 0.9])[groups % 3]
    weights = torch.randint(0, 5, (n,), generator=generator) / 2
    return scores[keep], labels[keep], groups[keep], weights[keep]


def expected_values(scores: Tensor, labels: Tensor, groups: Tensor, weights: Tensor | None, ties: str, norm: str):
    weight = torch.ones(len(scores)) if weights is None else weights
    columns = []
    for group in groups.unique():
        mine = groups == group
        rows = list(zip(labels[mine].int().tolist(), weight[mine].tolist(), strict=True))
        columns.append(group_metrics(scores[mine].tolist(), rows, KS, ties, norm))
    return {name: torch.tensor([column[name] for column in columns], dtype=torch.float64) for name in columns[0]}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ties", TIES)
def test_every_metric_is_its_mean_over_the_orders_of_tied_rows(
    ties: str, norm: str, weighted: bool, device: Device
) -> None:
    for seed in range(3):
        scores, labels, groups, weights = tiny_groups(seed)
        given_weights = weights if weighted else None
        wanted = expected_values(scores, labels, groups, given_weights, ties, norm)
        actual = group_ranking(
            *(t.to(device.tensors) for t in (scores, labels, groups)),
            ks=KS,
            metrics=METRICS,
            ties=ties,
            map_norm=norm,
            weights=None if given_weights is None else given_weights.to(device.tensors),
        )
        assert set(actual) == set(wanted)
        for name, values in wanted.items():
            same(actual[name], values)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ties", TIES)
def test_the_plain_torch_twin_agrees_with_the_definitions(ties: str, norm: str) -> None:
    scores, labels, groups, weights = tiny_groups(7)
    for w in (None, weights):
        wanted = expected_values(scores, labels, groups, w, ties, norm)
        twin = debias_ext.reference.group_ranking(
            scores, labels, groups, ks=KS, metrics=METRICS, ties=ties, map_norm=norm, weights=w
        )
        for name, values in wanted.items():
            same(twin[name], values)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("levels", [1, 3, 40, 1_000_000])
@pytest.mark.parametrize("rows", [1, 30, 700])
def test_kernels_agree_with_the_plain_torch_twin(
    rows: int, levels: int, ties: str, weighted: bool, device: Device
) -> None:
    generator = torch.Generator().manual_seed(rows + levels)
    scores = torch.randint(0, levels, (rows,), generator=generator) / 8 - 1
    labels = torch.rand(rows, generator=generator) < 0.4
    groups = torch.randint(0, 1 + rows // 200, (rows,), generator=generator)
    weights = torch.rand(rows, generator=generator) if weighted else None
    for norm in NORMS:
        options = {"ks": (1, 4, 50), "metrics": METRICS, "ties": ties, "map_norm": norm}
        place = device.tensors
        actual = group_ranking(
            scores.to(place),
            labels.to(place),
            groups.to(place),
            weights=None if weights is None else weights.to(place),
            **options,
        )
        wanted = debias_ext.reference.group_ranking(scores, labels, groups, weights=weights, **options)
        assert list(actual) == list(wanted)
        assert torch.equal(actual.groups.cpu(), wanted.groups)
        for name in wanted:
            same(actual[name], wanted[name], 1e-10)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 2), st.sampled_from([0.5, 1.0, 2.0, 3.5])),
        min_size=1,
        max_size=40,
    )
)
def test_auc_and_ndcg_are_those_of_scikit_learn(rows: list[tuple[int, bool, int, float]]) -> None:
    scores, labels, groups, weights = (np.array(column) for column in zip(*rows, strict=True))
    tensors = [torch.from_numpy(scores).double(), torch.from_numpy(labels), torch.from_numpy(groups)]
    plain = group_ranking(*tensors, ks=(1, 3, 50))
    weighted = group_ranking(*tensors, ks=(3,), weights=torch.from_numpy(weights))
    for place, group in enumerate(plain.groups.tolist()):
        mine = groups == group
        s, y, w = scores[mine], labels[mine], weights[mine]
        if 0 < y.sum() < len(y):
            assert float(plain["auc"][place]) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
            with_weights = roc_auc_score(y, s, sample_weight=w)
            assert float(weighted["auc"][place]) == pytest.approx(with_weights, abs=1e-12)
        else:
            assert math.isnan(plain["auc"][place])
        if len(y) == 1 or not y.any():
            continue
        for name, k in (("ndcg", None), ("ndcg@1", 1), ("ndcg@3", 3), ("ndcg@50", 50)):
            assert float(plain[name][place]) == pytest.approx(ndcg_score([y], [s], k=k), abs=1e-12)
        assert float(weighted["ndcg@3"][place]) == pytest.approx(ndcg_score([y * w], [s], k=3), abs=1e-12)


def test_groups_of_one_class(device: Device) -> None:
    scores = torch.tensor([0.3, 0.2, 0.5, 0.1], device=device.tensors)
    labels = torch.tensor([1, 1, 0, 0], device=device.tensors)
    groups = torch.tensor([4, 4, 9, 9], device=device.tensors)
    ranking = group_ranking(scores, labels, groups, ks=(3,), metrics=METRICS)
    assert ranking.groups.tolist() == [4, 9]
    for name, values in ranking.items():
        all_positive, all_negative = values.tolist()
        assert math.isnan(all_positive) == (name == "auc")
        assert math.isnan(all_negative) == (name != "precision@3")
    assert ranking["ndcg"][0] == ranking["ndcg@3"][0] == ranking["map@3"][0] == ranking["recall@3"][0] == 1
    assert ranking["precision@3"].tolist() == [2 / 3, 0]


def test_precision_divides_by_k_in_short_groups(device: Device) -> None:
    one = torch.ones(1, device=device.tensors)
    ranking = group_ranking(one, one, one.int(), ks=(4,), metrics=("precision", "recall", "ndcg"))
    assert ranking["precision@4"].tolist() == [0.25]
    assert ranking["recall@4"].tolist() == ranking["ndcg@4"].tolist() == [1.0]


def test_earlier_rows_win_ties_in_stable_mode(device: Device) -> None:
    labels = torch.tensor([0, 1, 1, 0, 0, 1], device=device.tensors)
    groups = torch.tensor([0, 0, 0, 1, 1, 1], device=device.tensors)
    zeros = torch.tensor([0.0, -0.0, 0.0, -0.0, 0.0, 0.0], device=device.tensors)
    ranking = group_ranking(zeros, labels, groups, ks=(1, 2, 3), metrics=("mrr", "auc"), ties="stable")
    assert ranking["mrr@3"].tolist() == [1 / 2, 1 / 3]
    assert ranking["mrr@2"].tolist() == [1 / 2, 0]
    assert ranking["auc"].tolist() == [0.5, 0.5]


def test_infinite_scores_rank_first_and_last(device: Device) -> None:
    infinity = float("inf")
    scores = torch.tensor([0.0, infinity, -infinity, 3e38, infinity], device=device.tensors)
    labels = torch.tensor([0, 1, 1, 0, 0], device=device.tensors)
    ranking = group_ranking(scores, labels, torch.zeros(5, dtype=torch.int32, device=device.tensors), ks=(1,))
    assert ranking["auc"].tolist() == [pytest.approx(2.5 / 6)]
    assert ranking["ndcg@1"].tolist() == [0.5]


def test_weights_of_zero_take_the_value_away(device: Device) -> None:
    scores = torch.tensor([0.3, 0.2], device=device.tensors)
    labels = torch.tensor([1, 0], device=device.tensors)
    groups = torch.tensor([0, 0], device=device.tensors)
    weights = torch.tensor([0.0, 1.0], device=device.tensors)
    ranking = group_ranking(scores, labels, groups, weights=weights, metrics=METRICS)
    assert {name for name, values in ranking.items() if math.isnan(values[0])} == {"auc", "ndcg", "ndcg@5", "recall@5"}
