"""Element numbers beyond 2^31, over memory that is reserved and never filled: reading an untouched page costs none."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Device
from torch import Tensor

import debias_ext

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mmap with MAP_NORESERVE")
NO_RESERVE = 0x4000
FACTORS = 64
ROWS = 2**26 + 1000  # of 64 factors: more than 2^32 elements
LONG = 2**31 + 2049  # rows of a loss, more than fill a 32-bit number and whole blocks


def reserved(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros that take memory where they are written."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    try:
        memory = mmap.mmap(-1, n * dtype.itemsize, flags=private)
    except OSError as error:
        pytest.skip(f"address space is limited here: {error}")
    memory.madvise(mmap.MADV_HUGEPAGE)  # fewer faults
    return torch.frombuffer(memory, dtype=dtype)


def peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def within_one_gigabyte(run: Callable[[], list[Tensor]]) -> list[Tensor]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: the tests before may have had a higher one
    before = peak_memory()
    result = run()
    assert peak_memory() - before < 2**30
    return result


@pytest.fixture
def tables(device: Device) -> tuple[Tensor, Tensor]:
    if device.name == "cuda":
        pytest.skip("virtual memory is the CPU's")
    large = reserved(ROWS * FACTORS).view(ROWS, FACTORS)
    small = torch.linspace(-1, 1, 10 * FACTORS).view(10, FACTORS)
    return large, small


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_scores_of_a_table_of_more_than_two_to_the_32_elements(
    tables: tuple[Tensor, Tensor], index: torch.dtype
) -> None:
    large, small = tables
    rows = torch.tensor([0, 2**25 - 1, 2**25, 2**26 + 999, 2**25, 2**24], dtype=index)
    large[rows.long()] = (1 + torch.arange(6.0)).unsqueeze(1).expand(6, FACTORS)
    items = torch.tensor([0, 1, 2, 3, 4, 5], dtype=index)
    leaf = large.requires_grad_()

    def run() -> list[Tensor]:
        as_users = debias_ext.mf_score(leaf, small, rows, items, sparse_grad=True)
        as_items = debias_ext.mf_score(small, leaf, items, rows, sparse_grad=True)
        (gradient,) = torch.autograd.grad(as_users, leaf, torch.arange(1.0, 7.0))
        return [as_users.detach(), as_items.detach(), gradient.coalesce().indices()[0], gradient.coalesce().values()]

    as_users, as_items, touched, values = within_one_gigabyte(run)
    wanted = (large.detach()[rows.long()] * small[items.long()]).sum(1)
    torch.testing.assert_close(as_users, wanted)
    torch.testing.assert_close(as_items, wanted)
    assert touched.tolist() == [0, 2**24, 2**25 - 1, 2**25, 2**26 + 999]
    torch.testing.assert_close(values[3], 3 * small[2] + 5 * small[4])
    torch.testing.assert_close(values[4], 4 * small[3])


def test_an_index_at_the_end_of_a_large_table(tables: tuple[Tensor, Tensor]) -> None:
    large, small = tables
    for bad in (ROWS, 2**31, 2**32 + 5):
        with pytest.raises(IndexError, match="users must be in"):
            debias_ext.mf_score(large, small, torch.tensor([bad]), torch.tensor([0]))


def test_weights_from_a_table_of_more_rows_than_an_int32_counts(device: Device) -> None:
    if device.name == "cuda":
        pytest.skip("virtual memory is the CPU's")
    table = reserved(LONG)
    table[[2**31 - 1, 2**31, LONG - 1]] = torch.tensor([5.0, 10.0, 15.0])
    bias = torch.zeros(3)
    users = torch.tensor([0, 2**31 - 1, 2**31, LONG - 1])
    items = torch.zeros_like(users)
    got = debias_ext.additive_weights(table, bias, None, users, items, None)
    torch.testing.assert_close(got, torch.arange(4.0).exp())
    narrow = users[:2].int()  # the largest int32 is a row of this table
    assert torch.equal(debias_ext.additive_weights(table, bias, None, narrow, narrow * 0, None), got[:2])
    many = narrow.repeat(10)
    assert torch.equal(debias_ext.additive_weights(table, bias, None, many, many * 0, None), got[:2].repeat(10))
    with pytest.raises(IndexError, match="users must be in"):
        debias_ext.additive_weights(table, bias, None, users + 1, items, None)


def test_losses_of_more_than_two_to_the_31_rows() -> None:
    scores, zeros = reserved(LONG), reserved(LONG)
    scores[[0, 2**31 - 1, 2**31, LONG - 1]] = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def run() -> list[Tensor]:
        return [
            debias_ext.pointwise_loss(scores, zeros, reduction="sum"),
            debias_ext.interd_loss(scores, zeros, zeros, zeros, gamma=-1.0, reduction="sum"),
        ]

    assert [float(value) for value in within_one_gigabyte(run)] == [30.0, 30.0]
