"""mf_topk against the sorted matrix of all scores."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from topk.problems import Problem, assert_exact, expected, topk, whole_numbers

from debias_ext import mf_topk, reference

INF, NAN = float("inf"), float("nan")
FLOATS = (torch.float32, torch.float64)
SHAPES = [  # users, items, factors, rows asked for, k
    (40, 150, 5, 33, 10),
    (5, 7, 3, 4, 2),
    (3, 50, 1, 2, 70),
    (9, 60, 4, 9, 60),
    (70, 500, 8, 100, 1),
    (4, 700, 2, 3, 300),
    (6, 9, 0, 5, 4),
    (1, 1, 1, 1, 1),
    (3, 0, 4, 2, 3),
    (3, 5, 4, 0, 3),
    (2, 9000, 3, 1, 40),
    (1, 64, 33, 1, 5),
]


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize(("n_users", "n_items", "factors", "n", "k"), SHAPES)
def test_exact_scores_with_ties(
    n_users: int, n_items: int, factors: int, n: int, k: int, biases: bool, device: Device
) -> None:
    problem = whole_numbers(n_users, n_items, factors, n, biases=biases)
    for dtype in device.floats:
        assert_exact(problem.to(dtype, device.tensors), k)


def test_one_bias_alone(device: Device) -> None:
    for name in ("user_bias", "item_bias"):
        problem = whole_numbers().to(torch.float32, device.tensors)
        del problem.tables[name]
        assert_exact(problem, 12)


@pytest.mark.parametrize("k", [1, 31, 32, 33, 64, 100, 257])
def test_any_k(k: int, device: Device) -> None:
    assert_exact(whole_numbers(5, 400, 3, 5).to(torch.float32, device.tensors), k)


def test_equal_scores_go_by_item_id(device: Device) -> None:
    n_items, k = 5000, 50
    tables = {"user_factors": torch.ones(3, 2), "item_factors": torch.ones(n_items, 2)}
    offsets, seen_items = torch.tensor([0, 0, 30, 60]), torch.cat([torch.arange(30), torch.arange(0, 60, 2)])
    problem = Problem(tables, torch.tensor([0, 1, 2]), (offsets, seen_items)).to(torch.float32, device.tensors)
    scores, items = topk(problem, k)
    assert torch.all(scores == 2)
    assert items[0].tolist() == list(range(k))
    assert items[1].tolist() == list(range(30, 30 + k))
    assert items[2].tolist() == [i for i in range(n_items) if i >= 60 or i % 2][:k]


@pytest.mark.parametrize("direction", [1, -1])
def test_scores_in_order_of_the_items(direction: int, device: Device) -> None:
    """Ascending: every item passes the threshold of those before it; descending: only the first ones do."""
    n_items = 3000
    item_factors = (direction * torch.arange(n_items, dtype=torch.float64)).unsqueeze(1)
    problem = Problem({"user_factors": torch.ones(2, 1), "item_factors": item_factors}, torch.arange(2), None)
    assert_exact(problem.to(torch.float32, device.tensors), 100)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_random_scores_within_rounding(dtype: torch.dtype, device: Device) -> None:
    generator = torch.Generator().manual_seed(0)
    n_items, k = 2500, 20
    tables = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in (("user_factors", (30, 64)), ("item_factors", (n_items, 64)), ("item_bias", (n_items,)))
    }
    base = whole_numbers(30, n_items, 1, 50, seen_per_user=200)
    problem = Problem(tables, base.users, base.seen).to(dtype, device.tensors)
    scores, items = topk(problem, k)
    wanted_scores, _ = expected(problem, k)
    tolerance = 64 * torch.finfo(dtype).eps * 30
    torch.testing.assert_close(scores.cpu().double(), wanted_scores, rtol=0, atol=tolerance)
    positional, named = problem.to(torch.float64).arguments(n_items)
    ranked_scores, ranked_items = reference.mf_topk(*positional, **named)
    by_item = torch.full((50, n_items), -INF, dtype=torch.float64)
    rows = torch.arange(50).unsqueeze(1)
    found = ranked_items >= 0
    by_item[rows.expand_as(ranked_items)[found], ranked_items[found]] = ranked_scores[found]
    torch.testing.assert_close(by_item[rows, items.cpu()], scores.cpu().double(), rtol=0, atol=tolerance)
    assert all(len(set(row)) == k for row in items.tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_rank_by_float32_scores(dtype: torch.dtype, device: Device) -> None:
    if dtype not in device.floats:
        with pytest.raises(ValueError, match="user_factors must be float32 or float64"):
            topk(whole_numbers().to(dtype, device.tensors), 3)
        return
    item_factors = torch.tensor([[256.0, 0], [256, 1], [256, 2], [256, 3]])
    problem = Problem(
        {"user_factors": torch.tensor([[16.0, 0.125]]), "item_factors": item_factors}, torch.zeros(1).long(), None
    )
    scores, items = topk(problem.to(dtype, device.tensors), 4)
    assert items.tolist() == [[3, 2, 1, 0]]
    assert scores.unique().numel() == 1  # rounded, they tie


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("seen_index", [torch.int32, torch.int64], ids=str)
def test_index_dtypes(index: torch.dtype, seen_index: torch.dtype, device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)
    offsets, items = problem.seen
    for seen in ((offsets.to(seen_index), items.to(index)), (offsets.to(index), items.to(seen_index))):
        assert_exact(problem._replace(users=problem.users.to(index), seen=seen), 9)


def test_strided_inputs(device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)

    def strided(t: torch.Tensor) -> torch.Tensor:
        return torch.stack([t, t], -1)[..., 0]

    offsets, items = problem.seen
    other = Problem(
        {name: strided(t) for name, t in problem.tables.items()},
        strided(problem.users),
        (strided(offsets), strided(items)),
    )
    other.tables["item_factors"] = problem.tables["item_factors"].T.contiguous().T
    assert not any(t.is_contiguous() for t in (*other.tables.values(), other.users, *other.seen))
    assert_exact(other, 9)


def test_users_who_have_seen_all_but_a_few(device: Device) -> None:
    n_items = 40
    items = torch.cat([torch.arange(n_items).flip(0), torch.arange(3, n_items), torch.arange(0)])
    problem = whole_numbers(3, n_items, 4)._replace(
        users=torch.tensor([2, 0, 1]), seen=(torch.tensor([0, 40, 77, 77]), items)
    )
    assert_exact(problem.to(torch.float32, device.tensors), 5)
    assert topk(problem.to(torch.float32, device.tensors), 5)[1][1].tolist() == [-1] * 5


def test_scores_far_out(device: Device) -> None:
    base = whole_numbers(10, 90, 4, 10)
    for scale in (60.0, 2.0**40):
        powers = {name: scale ** (1 if table.dim() == 2 else 2) for name, table in base.tables.items()}
        problem = base._replace(tables={name: table * powers[name] for name, table in base.tables.items()})
        assert_exact(problem.to(torch.float32, device.tensors), 10)


def test_items_without_an_order_are_left_out(device: Device) -> None:
    for dtype in FLOATS:
        problem = whole_numbers(4, 100, 3, 4, seen_per_user=3).to(dtype, device.tensors)
        problem.tables["item_bias"][10] = NAN
        problem.tables["item_bias"][20] = -INF
        problem.tables["item_bias"][30] = INF
        problem.tables["item_factors"][40, 1] = INF  # NaN, minus infinity or infinity, by the sign of the user's factor
        problem.tables["user_factors"][0, 0] = NAN
        assert_exact(problem, 100)
        items = topk(problem, 100)[1].cpu()
        assert not torch.isin(torch.tensor([10, 20]), items).any()
        assert (items[problem.users.cpu() == 0] == -1).all()
        finite = items[(problem.users.cpu() != 0).nonzero()[0, 0]]
        assert 30 in finite[:2]


def test_all_scores_infinite(device: Device) -> None:
    problem = whole_numbers(2, 200, 1, 2, seen_per_user=None).to(torch.float32, device.tensors)
    problem.tables["item_bias"].fill_(INF)
    assert topk(problem, 7)[1].tolist() == [list(range(7))] * 2


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 40), st.integers(0, 200), st.integers(0, 9), st.integers(0, 40), st.integers(1, 230),
    st.sampled_from([None, 0, 5, 300]), st.booleans(), st.sampled_from(FLOATS), st.integers(0, 2**31),
)  # fmt: skip
def test_random_shapes(
    n_users: int,
    n_items: int,
    factors: int,
    n: int,
    k: int,
    seen: int | None,
    biases: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    problem = whole_numbers(n_users, n_items, factors, n, seen_per_user=seen, biases=biases, seed=seed)
    assert_exact(problem.to(dtype), k)


def test_the_caller_keeps_its_tensors(device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)
    tensors = [*problem.tables.values(), problem.users, *problem.seen]
    before = [t.clone() for t in tensors]
    topk(problem, 5)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_defaults() -> None:
    problem = whole_numbers(biases=False, seen_per_user=None)
    factors = problem.tables["user_factors"], problem.tables["item_factors"]
    scores, items = mf_topk(*factors, problem.users, 3)
    assert torch.equal(items, expected(problem, 3)[1])
    assert not scores.requires_grad
