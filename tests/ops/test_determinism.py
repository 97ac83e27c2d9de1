"""The same bits for every thread count and every launch; SIMD levels agree."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from ops.cases import SMALL, Spec, assert_near, sample_inputs, value_and_gradients
from torch import Tensor

from debias_ext import _library

SIZES = (1, 2047, 2048, 2049, 100001)


def results(spec: Spec, n: int, dtype: torch.dtype, device: str, **options: bool) -> list[Tensor]:
    case = sample_inputs(spec, n, dtype=dtype, device=device, users=3000, items=70, factors=9)
    _, leaves = case.of_differentiable()
    return value_and_gradients(
        lambda *values: case.fused(**dict(zip(spec.differentiable, values, strict=True)), **options), leaves
    )


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_thread_count_does_not_change_a_bit(spec: Spec, dtype: torch.dtype, one_and_two_threads: None) -> None:
    for n in SIZES:
        by_threads = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            by_threads.append(results(spec, n, dtype, "cpu"))
        for one, *others in zip(*by_threads, strict=True):
            assert all(torch.equal(one, other) for other in others)


def test_thread_count_does_not_change_a_bit_of_sparse_gradients(one_and_two_threads: None) -> None:
    for n in SIZES:
        by_threads = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            by_threads.append(results(SMALL[-1], n, torch.float32, "cpu", sparse_grad=True))
        for one, *others in zip(*by_threads, strict=True):
            assert all(torch.equal(one.to_dense(), other.to_dense()) for other in others)


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_simd_levels_agree(spec: Spec, dtype: torch.dtype, simd_levels: list[str]) -> None:
    by_level = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        assert _library.load().simd_level() == level
        by_level.append(results(spec, 3001, dtype, "cpu"))
    for lowest, *others in zip(*by_level, strict=True):
        for other in others:
            assert_near(other, lowest, 32)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_two_launches_give_the_same_bits(spec: Spec, device: Device) -> None:
    first, second = (results(spec, 3001, torch.float32, device.tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_unknown_simd_level_is_refused(simd_levels: list[str]) -> None:
    with pytest.raises(ValueError, match="simd level must be 'baseline', 'avx2' or 'avx512', got 'sse'"):
        _library.load().set_simd_level("sse")
