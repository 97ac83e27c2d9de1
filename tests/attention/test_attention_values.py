"""attention_pooling against plain torch, over every kind of kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attention.cases import ACTIVATIONS, Problem, assert_near, problem
from conftest import Device

from debias_ext import _library, attention_pooling, reference

ROUNDINGS = {torch.float64: 128, torch.float32: 128, torch.float16: 16, torch.bfloat16: 16}
SIZES = [(5, 7, 3, (6, 4)), (3, 70, 8, (64, 16)), (4, 3, 17, (20, 33, 5)), (9, 5, 1, (1,))]


def check(case: Problem, roundings: float) -> None:
    expected = case.double().value_and_gradients(reference.attention_pooling)
    assert_near(case.value_and_gradients(attention_pooling), expected, roundings)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients(size: tuple[int, int, int, tuple[int, ...]], activation: str, device: Device) -> None:
    for dtype in device.floats:
        for index in (torch.int32, torch.int64):
            check(problem(*size, activation, dtype=dtype, index=index, device=device.tensors), ROUNDINGS[dtype])


def test_against_a_loop_over_positions() -> None:
    """a_t = v . relu(W [q; k; q - k; q * k] + b) + c, one position at a time."""
    case = problem(hidden=(6,), activation="relu")
    queries, keys, weight, bias, last, shift = case.tensors
    pooled = torch.zeros_like(queries)
    for b in range(len(queries)):
        for t in range(int(case.lengths[b])):
            q, k = queries[b], keys[b, t]
            hidden = torch.relu(weight @ torch.cat([q, k, q - k, q * k]) + bias)
            pooled[b] += (last[0] @ hidden + shift[0]) * k
    torch.testing.assert_close(case.call(attention_pooling), pooled)


def test_dice_of_one_layer_by_hand() -> None:
    case = problem(2, 4, 2, (3,))
    case.lengths[:] = torch.tensor([4, 2])
    queries, keys, weight, bias, last, shift, alpha = case.tensors
    rows = [(queries[b], keys[b, t]) for b, t in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]]
    x = torch.stack([weight @ torch.cat([q, k, q - k, q * k]) + bias for q, k in rows])
    mean, variance = x.mean(0), x.var(0, unbiased=False)
    p = torch.sigmoid((x - mean) / (variance + 1e-8).sqrt())
    scores = (x * (p + alpha * (1 - p))) @ last[0] + shift
    value, [(used_mean, used_variance)] = case.call(attention_pooling, return_statistics=True)
    torch.testing.assert_close(value[0], (scores[:4, None] * keys[0]).sum(0))
    torch.testing.assert_close(value[1], (scores[4:, None] * keys[1, :2]).sum(0))
    torch.testing.assert_close(used_mean, mean)
    torch.testing.assert_close(used_variance, variance)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_positions_past_the_length_are_not_read(activation: str, device: Device) -> None:
    case = problem(activation=activation, device=device.tensors)
    clean = case.value_and_gradients(attention_pooling)
    past = torch.arange(7, device=device.tensors) >= case.lengths.unsqueeze(1)
    case.tensors[1][past] = torch.nan
    for a, b in zip(case.value_and_gradients(attention_pooling), clean, strict=True):
        assert torch.equal(a, b)
    to_keys = clean[1 - len(case.tensors)]
    assert not to_keys[past].any()
    assert to_keys[~past].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_empty_histories_pool_to_zero(activation: str, device: Device) -> None:
    case = problem(activation=activation, device=device.tensors)
    case = replace(case, lengths=torch.zeros_like(case.lengths))
    leaves = case.leaves()
    value, statistics = case.call(attention_pooling, *leaves, return_statistics=True)
    assert not value.any()
    assert not any(bool(g.any()) for g in torch.autograd.grad(value.sum(), leaves))
    if activation == "dice":
        assert all(not mean.any() and bool((variance == 1).all()) for mean, variance in statistics)


@pytest.mark.parametrize("size", [(0, 7, 3), (5, 0, 3), (5, 7, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_empty_inputs(size: tuple[int, int, int], activation: str, device: Device) -> None:
    case = problem(*size, activation=activation, device=device.tensors)
    values = case.value_and_gradients(attention_pooling)
    assert values[0].shape == (size[0], size[2])
    assert not values[0].any()
    for gradient, tensor in zip(values[-len(case.tensors) :], case.tensors, strict=True):
        assert gradient.shape == tensor.shape


def test_one_valid_position_has_a_variance_of_zero(device: Device) -> None:
    case = problem(device=device.tensors)
    case = replace(case, lengths=torch.zeros_like(case.lengths))
    case.lengths[2] = 1
    got, expected = (case.value_and_gradients(f) for f in (attention_pooling, reference.attention_pooling))
    assert_near(got, expected, 1e4, floor=1.0)  # differences are divided by the root of epsilon
    _, statistics = case.call(attention_pooling, return_statistics=True)
    assert not any(bool(variance.any()) for _, variance in statistics)


def test_moments_keep_their_digits_far_from_zero(device: Device) -> None:
    """With E[x^2] - E[x]^2 the variance would be lost in float32."""
    case = problem(64, 20, 3, (4,), dtype=torch.float32, device=device.tensors)
    case.tensors[3].add_(1000.0)
    _, [(mean, variance)] = case.call(attention_pooling, return_statistics=True)
    _, [(expected_mean, expected)] = case.double().call(reference.attention_pooling, return_statistics=True)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", [30.0, -30.0, 1e4, -1e4])
@pytest.mark.parametrize("activation", ["sigmoid", "dice", "dice, given"])
def test_saturated_units(size: float, activation: str, device: Device) -> None:
    for dtype in device.floats[:2]:
        case = problem(activation=activation, dtype=dtype, device=device.tensors)
        case.tensors[3].add_(size)
        got = case.value_and_gradients(attention_pooling)
        assert all(bool(tensor.isfinite().all()) for tensor in got)
        if activation != "dice":  # the batch's own statistics take the shift out again, with its rounding errors
            assert_near(got, case.double().value_and_gradients(reference.attention_pooling), 512)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_nan_goes_where_it_goes_in_plain_torch(position: int, activation: str, device: Device) -> None:
    case = problem(activation=activation, device=device.tensors)
    sample = int((case.lengths > 0).nonzero()[0])
    tensor = case.tensors[position]
    (tensor[sample, 0] if position == 1 else tensor[sample]).fill_(torch.nan)
    assert torch.equal(
        case.call(attention_pooling).isnan(),
        case.call(reference.attention_pooling).isnan() & (case.lengths > 0)[:, None],
    )


@pytest.mark.parametrize("position", range(10))
def test_strides(position: int, device: Device) -> None:
    case = problem(dtype=torch.float32, device=device.tensors)
    tensors = list(case.tensors)
    tensors[position] = torch.stack([tensors[position], torch.full_like(tensors[position], torch.nan)], -1)[..., 0]
    strided = replace(case, tensors=tuple(tensors), lengths=torch.stack([case.lengths] * 2, -1)[:, 0])
    assert torch.equal(strided.call(attention_pooling), case.call(attention_pooling))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_thread_count_does_not_change_a_bit(activation: str, dtype: torch.dtype, one_and_two_threads: None) -> None:
    case = problem(150, 20, 5, (18, 7), activation, dtype=dtype)
    by_threads = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        by_threads.append(case.value_and_gradients(attention_pooling))
    for one, *others in zip(*by_threads, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_simd_levels_agree(dtype: torch.dtype, simd_levels: list[str]) -> None:
    case = problem(20, 30, 7, (33, 17), dtype=dtype)
    by_level = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        by_level.append(case.value_and_gradients(attention_pooling))
    for other in by_level[1:]:
        assert_near(other, by_level[0], 128)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_two_launches_give_the_same_bits(activation: str, device: Device) -> None:
    case = problem(activation=activation, dtype=torch.float32, device=device.tensors)
    first, second = (case.value_and_gradients(attention_pooling) for _ in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_tiles_too_large_for_shared_memory(device: Device) -> None:
    check(problem(2, 40, 9, (150, 20), device=device.tensors), 256)


def test_given_statistics_of_the_batch_give_the_same_value(device: Device) -> None:
    case = problem(device=device.tensors)
    value, statistics = case.call(attention_pooling, return_statistics=True)
    again = case.call(attention_pooling, statistics=statistics)
    torch.testing.assert_close(again, value)
