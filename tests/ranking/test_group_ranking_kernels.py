"""The same values whatever the order of rows, the number of threads, the instruction set and the sizes of groups."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from torch import Tensor

from debias_ext import GroupRanking, _library, group_ranking, reference

METRICS = ("auc", "ndcg", "dcg", "map", "recall", "precision", "mrr")


def rows(n: int, groups: Tensor, seed: int = 0, levels: int = 1_000_000) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels, (n,), generator=generator) / 64
    return scores, torch.rand(n, generator=generator) < 0.3, groups


def assert_same_bits(a: GroupRanking, b: GroupRanking) -> None:
    assert list(a) == list(b)
    for name in a:
        assert torch.equal(a[name].nan_to_num(-1), b[name].nan_to_num(-1)), name
    for attribute in ("groups", "sizes", "positives"):
        assert torch.equal(getattr(a, attribute), getattr(b, attribute))


def assert_near(a: GroupRanking, b: GroupRanking) -> None:
    assert list(a) == list(b)
    assert torch.equal(a.groups, b.groups)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-9, atol=1e-12, equal_nan=True)


def uneven_groups(n: int, largest: int) -> Tensor:
    """One giant, some of middle size, many of a few rows."""
    generator = torch.Generator().manual_seed(n)
    middle = 10 + torch.randint(0, 8, (n // 5,), generator=generator)
    tiny = 100 + torch.randint(0, n // 4, (n - largest - len(middle),), generator=generator)
    groups = torch.cat([torch.full((largest,), 3), middle, tiny])
    return groups[torch.randperm(n, generator=generator)]


@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_giant_middle_and_tiny_groups(dtype: torch.dtype, weighted: bool, ties: str) -> None:
    n = 300_000
    scores, labels, groups = rows(n, uneven_groups(n, 180_000))
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1)) if weighted else None
    options = {"ks": (1, 10), "weights": weights, "ties": ties, "metrics": METRICS}
    assert_near(
        group_ranking(scores.to(dtype), labels, groups, **options),
        reference.group_ranking(scores.to(dtype), labels, groups, **options),
    )


@pytest.mark.parametrize("levels", [1, 5, 1000])
def test_a_giant_group_of_tied_rows(levels: int) -> None:
    n = 200_000
    inputs = rows(n, torch.zeros(n, dtype=torch.int64), levels=levels)
    options = {"ks": (1, 10, 1000), "metrics": METRICS}
    assert_near(group_ranking(*inputs, **options), reference.group_ranking(*inputs, **options))


@pytest.mark.parametrize("positives", [0, 1, 16, 32, 33, 127, 128, 129, 2000])
def test_counted_and_sorted_groups_meet(positives: int) -> None:
    generator = torch.Generator().manual_seed(positives)
    n = 4000
    labels = torch.zeros(n)
    labels[torch.randperm(n, generator=generator)[:positives]] = 1
    scores = torch.randint(0, 900, (n,), generator=generator).float()
    inputs = scores, labels, torch.zeros(n, dtype=torch.int32)
    options = {"ks": (1, 7, 5000), "metrics": METRICS}
    assert_near(group_ranking(*inputs, **options), reference.group_ranking(*inputs, **options))


@pytest.mark.parametrize("levels", [4, 1_000_000])
def test_values_do_not_depend_on_the_order_of_groups_or_on_gaps_between_their_ids(levels: int) -> None:
    n = 50_000
    scores, labels, groups = rows(n, uneven_groups(n, 5000), levels=levels)
    order = torch.argsort(groups, stable=True)
    plain = group_ranking(scores, labels, groups, metrics=METRICS)
    assert_near(group_ranking(scores[order], labels[order], groups[order], metrics=METRICS), plain)
    sparse = group_ranking(scores, labels, groups * 10**12, metrics=METRICS)
    sparse.groups = sparse.groups // 10**12
    assert_same_bits(sparse, plain)


@pytest.mark.parametrize("kind", ["any", "ascending", "sparse", "weighted", "stable", "float64"])
def test_the_number_of_threads_changes_no_bit(kind: str, one_and_two_threads: None) -> None:
    n = 400_000
    scores, labels, groups = rows(n, uneven_groups(n, 200_000 if kind == "any" else 20_000))
    options: dict = {"metrics": METRICS}
    if kind == "ascending":
        groups = groups.sort().values
    elif kind == "sparse":
        groups = groups * 10**12
    elif kind == "weighted":
        options["weights"] = torch.rand(n, generator=torch.Generator().manual_seed(1))
    elif kind == "stable":
        options["ties"] = "stable"
    elif kind == "float64":
        scores = scores.double()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(group_ranking(scores, labels, groups, **options))
    for other in results[1:]:
        assert_same_bits(other, results[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_instruction_set_changes_no_bit(dtype: torch.dtype, simd_levels: list[str]) -> None:
    n = 20_000
    scores, labels, groups = rows(n, uneven_groups(n, 4000), levels=300)
    results = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        results.append(group_ranking(scores.to(dtype), labels, groups, metrics=METRICS))
        with pytest.raises(ValueError, match="labels must be 0 or 1"):
            group_ranking(scores.to(dtype), labels.float() * 3, groups)
        with pytest.raises(ValueError, match="scores must not be NaN"):
            group_ranking(scores.to(dtype) * torch.nan, labels, groups)
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_two_launches_give_the_same_bits(device: Device) -> None:
    n = 700
    tensors = [t.to(device.tensors) for t in rows(n, uneven_groups(n, 300), levels=40)]
    weights = tensors[0].abs()
    for w in (None, weights):
        first = group_ranking(*tensors, metrics=METRICS, weights=w)
        assert_same_bits(group_ranking(*tensors, metrics=METRICS, weights=w), first)


def test_a_million_rows() -> None:
    n = 1_000_000
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(0, 10_000, (n,), generator=generator)
    scores, labels, _ = rows(n, groups)
    ranking = group_ranking(scores, labels, groups)
    assert len(ranking.groups) == 10_000
    assert int(ranking.sizes.sum()) == n
    assert int(ranking.positives.sum()) == int(labels.sum())
    assert abs(ranking.mean()["auc"] - 0.5) < 0.01
    assert group_ranking(labels.float(), labels, groups).mean() == {"auc": 1, "ndcg": pytest.approx(1), "ndcg@5": 1}
