"""Values and gradients of `block_loss` against every pair written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from block.cases import DETACHED, DIFFERENTIABLE, KINDS, TABLES, assert_near, sample
from conftest import Device
from hypothesis import given, settings
from hypothesis import strategies as st

from debias_ext import ConstantTarget, DRTarget, FactorTables, InterDTarget, block_loss

INDICES = (torch.int32, torch.int64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_every_dtype(kind: str, index: torch.dtype, device: Device) -> None:
    for dtype in device.floats:
        block = sample(kind, dtype=dtype, index=index, device=device.tensors)
        got = block.results()
        assert all(result.dtype == dtype for result in got)
        assert_near(got, block.expected(), 64 if dtype in (torch.float32, torch.float64) else 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("m", "n", "pairs", "factors"),
    [(1, 1, 1, (1, 1, 1)), (70, 600, 300, (5, 17, 1)), (33, 257, 500, (15, 3, 30)), (9, 16, 40, (40, 2, 2))],
)
def test_sizes(kind: str, m: int, n: int, pairs: int, factors: tuple[int, int, int]) -> None:
    for dtype in (torch.float32, torch.float64):
        block = sample(kind, m, n, pairs, factors, dtype=dtype, seed=m)
        assert_near(block.results(), block.expected(), 200)


@pytest.mark.parametrize("kind", KINDS)
def test_two_tiles_each_way(kind: str, device: Device) -> None:
    block = sample(kind, 37, 41, 60, (6, 3, 9), dtype=torch.float32, device=device.tensors)
    assert_near(block.results(), block.expected(), 100)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "n", "pairs"), [(0, 4, 0), (4, 0, 0), (0, 0, 0), (5, 6, 0)])
def test_nothing_of_something(kind: str, m: int, n: int, pairs: int, device: Device) -> None:
    for dtype in (torch.float32, torch.float64):
        block = sample(kind, m, n, pairs, dtype=dtype, device=device.tensors)
        assert_near(block.results(), block.expected(), 64)
    assert block.fused(reduction="mean").isnan() == (m * n == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_factors(kind: str, device: Device) -> None:
    block = sample(kind, factors=(0, 0, 0), dtype=torch.float32, device=device.tensors)
    assert_near(block.results(), block.expected(), 64)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_over_the_block(kind: str, device: Device) -> None:
    block = sample(kind, device=device.tensors)
    assert_near(block.results(reduction="mean"), block.expected(reduction="mean"), 64)


@pytest.mark.parametrize("kind", KINDS)
def test_strided_arguments(kind: str, device: Device) -> None:
    def strided(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() == 0:
            return tensor
        wide = tensor.new_zeros([3 * size for size in tensor.shape])
        view = wide[tuple(slice(1, None, 3) for _ in tensor.shape)]
        return view.copy_(tensor)

    block = sample(kind, device=device.tensors)
    views = block.map(strided)
    assert not views.tensors["user_factors"].is_contiguous()
    assert torch.equal(views.fused(), block.fused())
    transposed = block.map(lambda t: t.T.contiguous().T if t.dim() == 2 else t)
    assert torch.equal(transposed.fused(), block.fused())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_rated_pairs_is_free(kind: str, device: Device) -> None:
    block = sample(kind, device=device.tensors)
    order = torch.tensor([3, 0, 8, 5, 1, 7, 2, 6, 4], device=device.tensors)
    pairs = ("rows", "columns", "targets", "weights", "rated_weights", "rated_values")
    moved = {name: t[order] if name in pairs else t for name, t in block.tensors.items()}
    shuffled = type(block)(kind, moved).results()
    for name, got, wanted in zip(("", *DIFFERENTIABLE[kind]), shuffled, block.results(), strict=True):
        assert_near([got], [wanted[order] if name in pairs else wanted], 16)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_that_nobody_needs_are_left_out(kind: str, device: Device) -> None:
    block = sample(kind, device=device.tensors)
    full = dict(zip(DIFFERENTIABLE[kind], block.results()[1:], strict=True))
    for name in DIFFERENTIABLE[kind]:
        leaf = block.tensors[name].clone().requires_grad_()
        block.fused(**{name: leaf}).backward(torch.tensor(1.5, dtype=leaf.dtype, device=leaf.device))
        assert_near([leaf.grad], [full[name]], 8)


def test_the_gram_form_keeps_its_digits_where_all_scores_are_near_the_value(device: Device) -> None:
    block = sample("join", 40, 50, 30, device=device.tensors)
    block.tensors["user_bias"] += 100
    block.tensors["value"] += 100
    assert_near(block.results(), block.expected(), 2e5)  # (100 / 1)^2 roundings, and some
    single = block.map(lambda t: t.float() if t.is_floating_point() else t)
    assert_near(single.results(), single.expected(), 2e3)  # the rated pairs' scores are float32


def test_extreme_scores(device: Device) -> None:
    for dtype in (torch.float32, torch.float64):
        block = sample("label", 4, 6, 6, dtype=dtype, device=device.tensors)
        extreme = torch.tensor([-60.0, -30.0, 30.0, 60.0], dtype=dtype, device=device.tensors)
        block.tensors["user_bias"], block.tensors["first_user_bias"] = extreme, extreme.flip(0)
        results = block.results()
        assert all(result.isfinite().all() for result in results)
        assert_near(results, block.expected(), 64)


@pytest.mark.parametrize("kind", ["soft", "hard", "zero", "attached"])
def test_a_student_that_equals_its_teachers(kind: str, device: Device) -> None:
    for dtype in (torch.float32, torch.float64):
        block = sample(kind, factors=(3, 3, 3), dtype=dtype, device=device.tensors)
        for part in TABLES:
            block.tensors[f"first_{part}"] = block.tensors[f"second_{part}"] = block.tensors[part]
        for got, wanted in zip(block.results(), block.expected(), strict=True):
            torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_propagates(kind: str, device: Device) -> None:
    names = [*DIFFERENTIABLE[kind]]
    names += [] if kind in ("plain", "join", "replace", "own") else ["first_user_factors", "first_item_bias"]
    for name in names:
        block = sample(kind, device=device.tensors)
        block.tensors[name] = block.tensors[name].clone()
        block.tensors[name].view(-1)[0] = math.nan
        assert block.fused().isnan(), name


def test_gamma_zero_is_the_mean_of_the_teachers(device: Device) -> None:
    block = sample("soft", pairs=0, device=device.tensors)
    t = block.tensors
    biased, debiased = (FactorTables(*(t[f"{m}_{part}"] for part in TABLES)) for m in ("first", "second"))
    value = block.fused(unobserved=InterDTarget(biased, debiased, 0.0))
    halves = [
        0.5 * (m.user_factors @ m.item_factors.T + m.user_bias[:, None] + m.item_bias) for m in (biased, debiased)
    ]
    scores = t["user_factors"] @ t["item_factors"].T + t["user_bias"][:, None] + t["item_bias"]
    torch.testing.assert_close(value, (scores - halves[0] - halves[1]).square().sum())


@pytest.mark.parametrize("kind", ["soft", "residual"])
def test_without_an_unobserved_term_the_rated_pairs_remain(kind: str, device: Device) -> None:
    block = sample(kind, device=device.tensors)
    t = block.tensors
    nothing = FactorTables(torch.zeros_like(t["user_factors"]), torch.zeros_like(t["item_factors"]))
    unobserved = InterDTarget(nothing, nothing, -1.0, 0.0) if kind == "soft" else DRTarget(nothing)
    scores = (t["user_factors"][t["rows"]] * t["item_factors"][t["columns"]]).sum(1)
    scores = scores + t["user_bias"][t["rows"]] + t["item_bias"][t["columns"]]
    expected = (t["weights"] * (scores - t["targets"]).square()).sum()
    torch.testing.assert_close(block.fused(unobserved=unobserved), expected)


def test_more_pairs_than_memory() -> None:
    m = n = 100_000  # 40 GB as a matrix
    factors = torch.randn(m, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    none = torch.zeros(0, dtype=torch.int64)
    loss = block_loss(factors, factors, rated=(none, none, torch.zeros(0)), unobserved=ConstantTarget(1.0))
    loss.backward()
    gram = factors.detach().double().T @ factors.detach().double()
    total = factors.detach().double().sum(0)
    expected = (gram * gram).sum() - 2 * (total @ total) + m * n
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    gradient = 4 * (factors.detach().double() @ gram - total)  # both sides of a symmetric form
    torch.testing.assert_close(factors.grad.double(), gradient, rtol=1e-4, atol=1.0)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    sizes = [data.draw(st.integers(low, high)) for low, high in ((0, 20), (0, 300), (0, 40))]
    m, n, pairs = sizes[0], sizes[1], sizes[2] if sizes[0] and sizes[1] else 0
    factors = tuple(data.draw(st.integers(0, 20)) for _ in range(3))
    index = data.draw(st.sampled_from(INDICES))
    block = sample(kind, m, n, pairs, factors, index=index, seed=data.draw(st.integers(0, 99)))
    ulps = (
        1e6 if kind in (*DETACHED, "attached", "hard", "zero") else 300
    )  # coefficients magnify where s meets a teacher
    assert_near(block.results(), block.expected(), ulps)
