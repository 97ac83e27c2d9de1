"""frontdoor_aggregate: the same bits for every thread count and launch, SIMD levels."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import Device
from frontdoor.cases import assert_near, problem

from debias_ext import _library, frontdoor_aggregate, reference


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


@pytest.mark.parametrize("size", [(3, 1, 20, 150), (2, 1, 18, 300)], ids=str)
def test_many_hidden_units(size: tuple[int, ...], device: Device) -> None:
    for dtype in device.floats[:2]:
        case = problem(*size, dtype=dtype, device=device.tensors)
        expected = case.double().value_and_gradients(reference.frontdoor_aggregate)
        assert_near(case.value_and_gradients(frontdoor_aggregate), expected, 256)


def test_more_context_than_the_partial_gradients_hold_at_once() -> None:
    """20 rows are 2 tasks, so 16,384 tiles of one hidden unit make a pass: 2,100,000 rows are two."""
    case = problem(20, 1, 2_100_000, 1)
    expected = case.value_and_gradients(reference.frontdoor_aggregate)
    assert_near(case.value_and_gradients(frontdoor_aggregate), expected, 4096)


def test_memory_stays_far_below_the_whole_tensor() -> None:
    """In a process of its own: the peak above what was in use before, where the whole tensor would take 2.1 GB."""
    script = """
import resource, torch
from debias_ext import frontdoor_aggregate
generator = torch.Generator().manual_seed(0)
def run(n):
    tensors = [torch.randn(s, generator=generator).requires_grad_() for s in ((n, 16), (n, 8, 16), (n, 8), (16,), (1,))]
    context, mediators, logits, weight, bias = tensors
    frontdoor_aggregate(context, mediators, None, (weight, bias), attention_logits=logits).sum().backward()
run(8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(2048)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000  # kilobytes
