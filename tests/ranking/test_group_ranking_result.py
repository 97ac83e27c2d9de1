"""The result of group_ranking, and group_ranking as an operator of torch."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Device

from debias_ext import group_ranking


def sample():
    # group 0: both classes; 1: both; 2: positives alone; 3: negatives alone
    scores = torch.tensor([0.9, 0.1, 0.2, 0.8, 0.5, 0.4, 0.3])
    labels = torch.tensor([1, 0, 1, 0, 1, 0, 0])
    groups = torch.tensor([0, 0, 1, 1, 2, 3, 3])
    return scores, labels, groups


def test_masks_and_counts_say_which_groups_have_a_value() -> None:
    ranking = group_ranking(*sample(), ks=(1,), metrics=("auc", "ndcg", "precision"))
    assert ranking.sizes.tolist() == [2, 2, 1, 2]
    assert ranking.positives.tolist() == [1, 1, 1, 0]
    assert ranking.both_classes.tolist() == [True, True, False, False]
    assert ranking.valid["auc"].tolist() == [True, True, False, False]
    assert ranking.valid["ndcg@1"].tolist() == [True, True, True, False]
    assert ranking.dropped == {
        "auc": 2,
        "ndcg": 1,
        "ndcg@1": 1,
        "precision@1": 0,
        "one_class": 2,
        "no_positive": 1,
    }


def test_means_over_groups_with_a_value_or_with_both_classes() -> None:
    ranking = group_ranking(*sample(), ks=(1,), metrics=("auc", "ndcg", "precision"))
    assert ranking.mean() == {
        "auc": 0.5,
        "ndcg": pytest.approx((2 + 1 / math.log2(3)) / 3),
        "ndcg@1": pytest.approx(2 / 3),
        "precision@1": 0.5,
    }
    assert ranking.mean(require="both")["ndcg@1"] == 0.5
    assert ranking.mean(require="both")["precision@1"] == 0.5
    with pytest.raises(ValueError, match="require must be one of 'defined', 'both', got 'all'"):
        ranking.mean(require="all")


def test_the_mean_over_no_group_is_nan() -> None:
    scores, labels, groups = sample()
    ranking = group_ranking(scores[4:5], labels[4:5], groups[4:5])
    assert math.isnan(ranking.mean()["auc"])
    assert ranking.mean()["ndcg"] == 1
    assert math.isnan(ranking.mean(require="both")["ndcg"])


def test_results_never_require_a_gradient(device: Device) -> None:
    scores, labels, groups = (t.to(device.tensors) for t in sample())
    ranking = group_ranking(scores.requires_grad_(), labels, groups, weights=torch.ones_like(scores).requires_grad_())
    assert not any(values.requires_grad for values in ranking.values())


def test_the_operator_says_that_it_has_no_derivative() -> None:
    scores, labels, groups = sample()
    operator = torch.ops.debias_ext.group_ranking
    _, values, _, _ = operator(scores.requires_grad_(), labels, groups, None, [5], 1, True, 0, True)
    with pytest.raises(RuntimeError, match="group_ranking has no derivative"):
        values.sum().backward()


@pytest.mark.parametrize("weighted", [False, True])
def test_opcheck(weighted: bool) -> None:
    scores, labels, groups = (t[:4] for t in sample())  # no NaN among the values: opcheck compares them
    weights = torch.ones(4, dtype=torch.float64) if weighted else None
    arguments = (scores, labels, groups, weights, [1, 5], 127, True, 0, True)
    torch.library.opcheck(torch.ops.debias_ext.group_ranking.default, arguments)


def test_compiles_without_a_graph_break() -> None:
    def validation_auc(scores, labels, groups):
        ranking = group_ranking(2 * scores, labels, groups, metrics=("ndcg", "auc"))
        return ranking["auc"].nanmean() + ranking["ndcg@5"].nanmean(), ranking.groups

    wanted = validation_auc(*sample())
    actual = torch.compile(validation_auc, fullgraph=True, backend="aot_eager")(*sample())
    torch.testing.assert_close(actual, wanted)
