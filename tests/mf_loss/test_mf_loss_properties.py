"""The same bits for every thread count and launch; SIMD levels; random shapes, layouts and indices."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mf_loss.specs import FULL, SPECS, samples
from ops.cases import Case, Spec, assert_near, value_and_gradients
from torch import Tensor

from debias_ext import _library

SIZES = (1, 511, 513, 20001)
ULPS = {torch.float32: 512, torch.float64: 2048}


def results(spec: Spec, n: int, dtype: torch.dtype, device: str, **options: bool) -> list[Tensor]:
    case = samples(spec, n, dtype=dtype, device=device, users=3000, items=70, factors=9)
    names = spec.differentiable
    call = lambda *values: case.fused(**dict(zip(names, values, strict=True)), **options)  # noqa: E731
    return [
        tensor.to_dense() if tensor.is_sparse else tensor
        for tensor in value_and_gradients(call, tuple(case.leaves().values()))
    ]


@pytest.mark.parametrize("spec", FULL, ids=str)
@pytest.mark.parametrize("sparse_grad", [False, True])
def test_thread_count_does_not_change_a_bit(spec: Spec, sparse_grad: bool, one_and_two_threads: None) -> None:
    for n in SIZES:
        by_threads = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            by_threads.append(results(spec, n, torch.float32, "cpu", sparse_grad=sparse_grad))
        for one, *others in zip(*by_threads, strict=True):
            assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_simd_levels_agree(spec: Spec, simd_levels: list[str]) -> None:
    by_level = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        by_level.append(results(spec, 1501, torch.float32, "cpu"))
    for lowest, *others in zip(*by_level, strict=True):
        for other in others:
            assert_near(other, lowest, 64)


@pytest.mark.parametrize("spec", FULL, ids=str)
def test_two_launches_give_the_same_bits(spec: Spec, device: Device) -> None:
    first, second = (results(spec, 1501, torch.float32, device.tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def apart(tensor: Tensor, step: int) -> Tensor:
    """The same values, every `step`-th element of a larger tensor."""
    if tensor.dim() == 0 or tensor.numel() == 0:
        return tensor
    buffer = torch.zeros(*tensor.shape[:-1], tensor.shape[-1] * step, dtype=tensor.dtype)
    buffer[..., ::step] = tensor
    return buffer[..., ::step]


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SPECS),
    st.one_of(st.integers(0, 40), st.sampled_from([511, 512, 513, 1024])),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([torch.int32, torch.int64]),
    st.tuples(st.integers(1, 9), st.one_of(st.integers(1, 9), st.just(30000)), st.integers(0, 70)),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_any_shape_layout_and_index_type(
    spec: Spec,
    n: int,
    dtype: torch.dtype,
    index: torch.dtype,
    shape: tuple[int, int, int],
    step: int,
    seed: int,
) -> None:
    users, items, factors = shape
    case = samples(spec, n, dtype=dtype, index=index, users=users, items=items, factors=factors, seed=seed)
    strided = Case(spec, {name: apart(tensor, step) for name, tensor in case.tensors.items()})
    actual = value_and_gradients(*strided.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert_near(got, wanted, ULPS[dtype], scale=1e-3)
