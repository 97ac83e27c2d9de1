"""What group_ranking takes, and what it refuses by name."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from torch import Tensor

from debias_ext import GroupRanking, group_ranking

METRICS = ("auc", "ndcg", "dcg", "map", "recall", "precision", "mrr")
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def sample(n: int = 40, place: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    scores = torch.randint(0, 9, (n,), generator=generator) / 4
    labels = torch.randint(0, 2, (n,), generator=generator)
    groups = torch.randint(0, 5, (n,), generator=generator)
    return scores.to(place), labels.to(place), groups.to(place)


def equal(a: GroupRanking, b: GroupRanking) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name].nan_to_num(-1), b[name].nan_to_num(-1)) for name in a)


@pytest.mark.parametrize("dtype", [torch.bool, *FLOATS, *INTEGERS], ids=str)
def test_labels_of_any_dtype(dtype: torch.dtype, device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    assert equal(group_ranking(scores, labels.to(dtype), groups), group_ranking(scores, labels, groups))


def test_negative_zero_is_a_label_of_zero(device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    for dtype in (torch.float32, torch.float64):
        signed = torch.where(labels == 0, -0.0, 1.0).to(dtype)
        assert equal(group_ranking(scores, signed, groups), group_ranking(scores, labels, groups))


def test_scores_of_every_float_dtype(device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)  # exact in every dtype
    wanted = group_ranking(scores, labels, groups, metrics=METRICS)
    for dtype in device.floats:
        assert equal(group_ranking(scores.to(dtype), labels, groups, metrics=METRICS), wanted)


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1, -3), (10**6, 7), (2**60, -(2**61))])
def test_group_ids_may_be_any_integers(scale: int, shift: int, device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    ranking = group_ranking(scores, labels, groups * scale + shift, metrics=METRICS)
    assert equal(ranking, group_ranking(scores, labels, groups, metrics=METRICS))
    assert ranking.groups.tolist() == [group * scale + shift for group in range(5)]
    assert ranking.groups.dtype == torch.int64


def test_int32_groups_at_the_ends_of_their_range(device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    ends = torch.tensor([-(2**31), -1, 0, 1, 2**31 - 1], dtype=torch.int32, device=device.tensors)
    ranking = group_ranking(scores, labels, ends[groups])
    assert ranking.groups.tolist() == ends.tolist()
    assert equal(ranking, group_ranking(scores, labels, groups))


def test_strided_inputs(device: Device) -> None:
    inputs = sample(place=device.tensors)
    strided = [torch.stack([t, t], 1)[:, 0] for t in inputs]
    assert not any(t.is_contiguous() for t in strided)
    assert equal(group_ranking(*strided), group_ranking(*inputs))


@pytest.mark.parametrize("weighted", [False, True])
def test_no_rows(weighted: bool, device: Device) -> None:
    empty = torch.empty(0, device=device.tensors)
    ranking = group_ranking(empty, empty, empty.long(), metrics=METRICS, weights=empty if weighted else None)
    assert len(ranking) == 9
    assert all(values.shape == (0,) and values.dtype == torch.float64 for values in ranking.values())
    assert ranking.groups.shape == ranking.sizes.shape == ranking.positives.shape == (0,)
    assert ranking.dropped == dict.fromkeys(ranking, 0) | {"one_class": 0, "no_positive": 0}


def test_no_metrics_and_no_cuts(device: Device) -> None:
    inputs = sample(place=device.tensors)
    assert list(group_ranking(*inputs, metrics=())) == []
    assert list(group_ranking(*inputs, ks=())) == ["auc", "ndcg"]
    assert group_ranking(*inputs, metrics=()).sizes.sum() == 40


def test_names_come_in_a_fixed_order_without_repeats() -> None:
    ranking = group_ranking(*sample(), ks=(5, 1, 5), metrics=("mrr", "dcg", "auc", "mrr"))
    assert list(ranking) == ["auc", "dcg", "dcg@5", "dcg@1", "mrr@5", "mrr@1"]


def test_a_large_k_is_the_whole_group(device: Device) -> None:
    inputs = sample(place=device.tensors)
    ranking = group_ranking(*inputs, ks=(2**62,), metrics=METRICS)
    torch.testing.assert_close(ranking[f"ndcg@{2**62}"], ranking["ndcg"], rtol=1e-12, atol=0, equal_nan=True)


BAD_OPTIONS = [
    ({"ks": (3, 0)}, "ks must be at least 1, got 0"),
    ({"ks": (2.5,)}, "ks must be integers, got 2.5"),
    ({"ks": range(1, 66)}, "ks must hold at most 64 cut-offs, got 65"),
    ({"metrics": ("auc", "ncdg")}, "metrics must be one of .*'ndcg'.*, got 'ncdg'"),
    ({"metrics": "auc"}, "metrics must be a sequence of names, got the string 'auc'"),
    ({"ties": "random"}, "ties must be one of 'expected', 'stable', got 'random'"),
    ({"map_norm": "k"}, "map_norm must be one of 'hits', 'min', 'positives', got 'k'"),
    ({"weights": torch.ones(7)}, r"weights must have shape \[40\], got \[7\]"),
    ({"weights": torch.ones(40, dtype=torch.int64)}, "weights must have a float dtype, got torch.int64"),
    ({"weights": [1.0] * 40}, "weights must be a torch.Tensor, got list"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=[message[:24] for _, message in BAD_OPTIONS])
def test_a_bad_option_is_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_ranking(*sample(), **options)


BAD_TENSORS = [
    ("scores", [0.0] * 40, "scores must be a torch.Tensor, got list"),
    ("scores", torch.zeros(40, dtype=torch.int64), "scores must be float32"),
    ("scores", torch.zeros(40, 1), r"scores must have 1 dimension\(s\), got shape \[40, 1\]"),
    ("labels", torch.zeros(39), r"labels must have shape \[40\], got \[39\]"),
    ("labels", torch.zeros(40, dtype=torch.complex64), "labels must be bool"),
    ("groups", torch.zeros(40), "groups must be int32 or int64, got float32"),
    ("groups", torch.zeros(41, dtype=torch.int64), r"groups must have shape \[40\], got \[41\]"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_TENSORS, ids=[message[:28] for *_, message in BAD_TENSORS])
def test_a_bad_tensor_is_named(name: str, value: object, message: str, device: Device) -> None:
    arguments = dict(zip(("scores", "labels", "groups"), sample(place=device.tensors), strict=True))
    arguments[name] = value.to(device.tensors) if isinstance(value, Tensor) else value
    with pytest.raises(ValueError, match=message):
        group_ranking(**arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_nan_score_is_named_with_its_position(dtype: torch.dtype, device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    scores = scores.to(dtype)
    scores[[17, 30]] = torch.nan
    with pytest.raises(ValueError, match="scores must not be NaN, got NaN at position 17"):
        group_ranking(scores, labels, groups)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [2, 128])
def test_a_label_other_than_0_and_1_is_named_with_its_position(dtype: torch.dtype, value: int, device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    labels = labels.to(dtype)
    labels[33] = value
    with pytest.raises(ValueError, match=r"labels must be 0 or 1, got .* at position 33"):
        group_ranking(scores, labels, groups)


@pytest.mark.parametrize("value", [-1.0, 0.5, float("nan"), float("inf")])
def test_float_labels_are_compared_exactly(value: float, device: Device) -> None:
    scores, labels, groups = sample(place=device.tensors)
    labels = labels.float()
    labels[0] = value
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        group_ranking(scores, labels, groups)


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_a_bad_weight_is_named_with_its_position(value: float, device: Device) -> None:
    inputs = sample(place=device.tensors)
    weights = torch.ones(40, device=device.tensors)
    weights[21] = value
    with pytest.raises(ValueError, match=r"weights must be finite and at least 0, got .* at position 21"):
        group_ranking(*inputs, weights=weights)


def test_the_caller_keeps_its_tensors(device: Device) -> None:
    inputs = sample(place=device.tensors)
    before = [t.clone() for t in inputs]
    group_ranking(*inputs, weights=inputs[0], metrics=METRICS)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
