"""The same bits of `block_loss` for every thread count and every launch; SIMD levels agree."""

from __future__ import annotations

import pytest
import torch
from block.cases import KINDS, assert_near, sample
from conftest import Device

from debias_ext import _library

SIZES = ((4, 9, 12), (63, 300, 500), (3001, 70, 20_000), (2, 9000, 4000))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_thread_count_does_not_change_a_bit(kind: str, dtype: torch.dtype, one_and_two_threads: None) -> None:
    for m, n, pairs in SIZES:
        block = sample(kind, m, n, pairs, (9, 5, 4), dtype=dtype)
        by_threads = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            by_threads.append(block.results())
        for one, *others in zip(*by_threads, strict=True):
            assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_simd_levels_agree(kind: str, dtype: torch.dtype, simd_levels: list[str]) -> None:
    block = sample(kind, 65, 333, 700, (9, 5, 4), dtype=dtype)
    expected = block.expected()
    for level in simd_levels:
        _library.load().set_simd_level(level)
        assert _library.load().simd_level() == level
        assert_near(block.results(), expected, 200)


@pytest.mark.parametrize("kind", KINDS)
def test_two_launches_give_the_same_bits(kind: str, device: Device) -> None:
    block = sample(kind, 40, 50, 100, dtype=torch.float32, device=device.tensors)
    first, second = block.results(), block.results()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
