"""frontdoor_aggregate: the same bits for every thread count and launch, SIMD levels."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from frontdoor.cases import assert_near, problem

from debias_ext import _library, frontdoor_aggregate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(40, 3, 300, 3), (150, 4, 150, 16), (4, 1, 5000, 8)], ids=str)
def test_thread_count_does_not_change_a_bit(
    dtype: torch.dtype, size: tuple[int, ...], one_and_two_threads: None
) -> None:
    case = problem(*size, logits=True, exclude="index", dtype=dtype)
    by_threads = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        by_threads.append(case.value_and_gradients(frontdoor_aggregate))
    for one, *others in zip(*by_threads, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_simd_levels_agree(dtype: torch.dtype, simd_levels: list[str]) -> None:
    case = problem(30, 3, 300, 7, exclude="index", dtype=dtype)
    by_level = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        by_level.append(case.value_and_gradients(frontdoor_aggregate))
    for other in by_level[1:]:
        assert_near(other, by_level[0], 32)


def test_two_launches_give_the_same_bits(device: Device) -> None:
    case = problem(9, 2, 130, 5, dtype=torch.float32, device=device.tensors)
    first, second = (case.value_and_gradients(frontdoor_aggregate) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
