"""frontdoor_aggregate: values and gradients against plain torch in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import Device
from frontdoor.cases import Problem, assert_near, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from debias_ext import frontdoor_aggregate, reference

# (samples, teachers, context rows, hidden units): less than a tile, whole tiles, several tasks
SIZES = [(1, 1, 1, 1), (5, 3, 7, 4), (3, 1, 128, 16), (9, 2, 129, 5), (40, 3, 300, 3)]


def check(case: Problem, roundings: float = 256) -> None:
    expected = case.double().value_and_gradients(reference.frontdoor_aggregate)
    got = case.value_and_gradients(frontdoor_aggregate)
    assert [tensor.dtype for tensor in got] == [case.tensors[0].dtype] * len(got)
    assert_near(got, expected, roundings)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("logits", [False, True])
def test_every_float_type_agrees_with_plain_torch(size: tuple[int, ...], logits: bool, device: Device) -> None:
    for dtype in device.floats:
        roundings = 256 if dtype in (torch.float32, torch.float64) else 2
        check(problem(*size, logits=logits, dtype=dtype, device=device.tensors), roundings)


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("size", [(5, 3, 7, 4), (9, 2, 129, 5), (40, 3, 300, 3)], ids=str)
def test_sampled_context_without_the_sample_itself(size: tuple[int, ...], index: torch.dtype, device: Device) -> None:
    for dtype in device.floats[:2]:
        check(problem(*size, exclude="index", index=index, dtype=dtype, device=device.tensors))


@pytest.mark.parametrize("samples", [2, 131])
def test_a_sample_is_left_out_of_its_own_mean(samples: int, device: Device) -> None:
    check(problem(samples, 2, samples, 3, exclude="self", device=device.tensors))


def test_against_a_triple_loop() -> None:
    case = problem(4, 2, 4, 3, exclude="self")
    a, c, alpha, v, v0 = case.tensors
    for i in range(4):
        total = 0.0
        for k, j in itertools.product(range(2), range(4)):
            if j != i:
                total += float(alpha[i, k]) / 3 / (1 + float(torch.exp(-(v @ (a[j] + c[i, k]).clamp(min=0) + v0))))
        assert abs(total - float(case.call(frontdoor_aggregate)[i])) < 1e-14


def test_one_context_index_per_row_is_the_default(device: Device) -> None:
    case = problem(6, 2, 6, 3, exclude="self", device=device.tensors)
    by_index = case.call(frontdoor_aggregate, context_index=torch.arange(6, device=device.tensors))
    assert torch.equal(by_index, case.call(frontdoor_aggregate))


def test_a_masked_teacher_has_no_part(device: Device) -> None:
    case = problem(logits=True, device=device.tensors)
    case.tensors[2][:, 1] = -torch.inf
    kept = [t[:, [0, 2]] if t.dim() >= 2 and t.shape[1] == 3 else t for t in case.tensors]
    values, context, mediators, *_ = case.value_and_gradients(frontdoor_aggregate)
    torch.testing.assert_close(values, case.call(frontdoor_aggregate, *kept))
    assert not mediators[:, 1].any()
    assert context.any()


@pytest.mark.parametrize("score", [60.0, -60.0, 500.0, -500.0])
def test_saturated_scores(score: float, device: Device) -> None:
    for dtype in device.floats[:2]:
        case = problem(dtype=dtype, device=device.tensors)
        case.tensors[4].fill_(score)
        got = case.value_and_gradients(frontdoor_aggregate)
        assert all(bool(tensor.isfinite().all()) for tensor in got)
        expected = case.double().value_and_gradients(reference.frontdoor_aggregate)
        # at -60 every value and gradient is about e^-60, and zeros are not near them
        small = {"roundings": 128, "floor": 0.0} if score == -60 else {"roundings": 64}
        assert_near(got, expected, **small)


@pytest.mark.parametrize("size", [60.0, -60.0])
@pytest.mark.parametrize("position", [0, 1, 3])
def test_large_inputs(size: float, position: int, device: Device) -> None:
    for dtype in device.floats[:2]:
        case = problem(dtype=dtype, device=device.tensors)
        case.tensors[position].add_(size)
        check(case, 4000)  # a logit is a sum of terms of the size of 60


@pytest.mark.parametrize("weight", [0.0, 1e-30, -1e-30, 1e-17, -3.0])
def test_weights_of_every_size_pass_gradients_on(weight: float, device: Device) -> None:
    case = problem(dtype=torch.float32, device=device.tensors)
    case.tensors[3].fill_(weight)
    expected = case.double().value_and_gradients(reference.frontdoor_aggregate)
    got = case.value_and_gradients(frontdoor_aggregate)
    assert got[4].abs().min() > 0
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_relu_at_zero_has_no_slope(device: Device) -> None:
    case = problem(device=device.tensors)
    context, mediators = torch.ones_like(case.tensors[0]), -torch.ones_like(case.tensors[1])
    at_zero = Problem((context, mediators, *case.tensors[2:]))
    _, to_context, to_mediators, _, to_weight, _ = at_zero.value_and_gradients(frontdoor_aggregate)
    assert not to_context.any()
    assert not to_mediators.any()
    assert not to_weight.any()


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("exclude", ["", "index"])
def test_nan_goes_where_it_goes_in_plain_torch(position: int, exclude: str, device: Device) -> None:
    case = problem(6, 2, 9, 4, exclude=exclude, device=device.tensors)
    case.tensors[position].view(-1)[0] = torch.nan
    expected = case.value_and_gradients(reference.frontdoor_aggregate)
    for a, b in zip(case.value_and_gradients(frontdoor_aggregate), expected, strict=True):
        # where a closed gate meets NaN the twin has 0 times NaN, or nothing
        assert bool((a.isnan() <= b.isnan()).all())
        assert bool((a.isnan() | b.isnan() | ((a - b).abs() < 1e-12)).all())
    assert torch.equal(case.call(frontdoor_aggregate).isnan(), case.call(reference.frontdoor_aggregate).isnan())


def test_nothing_left_is_nan(device: Device) -> None:
    case = problem(1, 2, 1, 3, exclude="self", device=device.tensors)
    assert case.call(frontdoor_aggregate).isnan().all()


@pytest.mark.parametrize("size", [(0, 3, 7, 4), (5, 0, 7, 4), (5, 3, 7, 0), (0, 0, 0, 0)], ids=str)
def test_empty_inputs(size: tuple[int, ...], device: Device) -> None:
    check(problem(*size, device=device.tensors))


def test_no_context_is_nan(device: Device) -> None:
    case = problem(5, 3, 0, 4, device=device.tensors)
    values, *gradients = case.value_and_gradients(frontdoor_aggregate)
    assert values.isnan().all()
    assert [g.shape for g in gradients] == [t.shape for t in case.tensors]
    assert not gradients[1].any()


@pytest.mark.parametrize("position", range(5))
def test_strides(position: int, device: Device) -> None:
    case = problem(dtype=torch.float32, device=device.tensors)
    tensors = list(case.tensors)
    doubled = torch.stack([tensors[position], torch.full_like(tensors[position], torch.nan)], -1)
    tensors[position] = doubled[..., 0]
    assert not tensors[position].is_contiguous() or tensors[position].numel() == 1
    strided = Problem(tuple(tensors))
    assert torch.equal(strided.call(frontdoor_aggregate), case.call(frontdoor_aggregate))
    transposed = Problem((case.tensors[0].T.contiguous().T, *case.tensors[1:]))
    for a, b in zip(
        transposed.value_and_gradients(frontdoor_aggregate), case.value_and_gradients(frontdoor_aggregate), strict=True
    ):
        assert torch.equal(a, b)


@settings(derandomize=True, deadline=None)
@given(
    samples=st.integers(1, 12),
    teachers=st.integers(1, 4),
    context=st.integers(1, 140),
    hidden=st.integers(1, 9),
    logits=st.booleans(),
    exclude=st.sampled_from(["", "index"]),
    seed=st.integers(0, 1000),
)
def test_any_shape(
    samples: int, teachers: int, context: int, hidden: int, logits: bool, exclude: str, seed: int
) -> None:
    case = problem(samples, teachers, context, hidden, logits=logits, exclude=exclude, dtype=torch.float32, seed=seed)
    check(case, 400)
