"""`fm_interaction` against plain torch, over every kind of kernel."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from conftest import Device
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from debias_ext import fm_interaction, reference

SIZES = [(5, 3, 8), (700, 4, 17), (3, 1, 4), (2, 30, 1), (1, 2, 300), (9, 3, 23)]
OPS = torch.ops.debias_ext


def fields(size: tuple[int, int, int] = (5, 3, 8), dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(sum(size))
    return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype).to(device)


def value_and_gradient(function: Any, values: Tensor) -> tuple[Tensor, Tensor]:
    leaf = values.detach().clone().requires_grad_()
    value = function(leaf)
    cotangent = torch.linspace(-1, 1, len(value) + 1)[1:].bfloat16().to(value)
    return value.detach(), torch.autograd.grad(value, leaf, cotangent)[0]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients(size: tuple[int, int, int], device: Device) -> None:
    for dtype in device.floats:
        values = fields(size, dtype, device.tensors)
        expected = value_and_gradient(reference.fm_interaction, values.double())
        for a, b in zip(value_and_gradient(fm_interaction, values), expected, strict=True):
            allowed = 16 * torch.finfo(dtype).eps * float(b.abs().max().clamp(min=1e-2))
            torch.testing.assert_close(a.double(), b, rtol=0, atol=allowed)


def test_against_a_loop_over_pairs() -> None:
    values = fields()
    pairs = sum((values[:, f] * values[:, g]).sum(1) for f, g in combinations(range(3), 2))
    torch.testing.assert_close(fm_interaction(values), pairs)


def test_one_field_has_no_interaction_and_large_fields_do_not_cancel(device: Device) -> None:
    assert not fm_interaction(fields((4, 1, 3), device=device.tensors)).any()
    values = torch.zeros(1, 2, 1, device=device.tensors)
    values[0, :, 0] = torch.tensor([1e6, 1e-3])
    torch.testing.assert_close(fm_interaction(values), torch.full_like(values[:, 0, 0], 1e3))


@pytest.mark.parametrize("size", [(0, 3, 4), (5, 0, 4), (5, 3, 0)], ids=str)
def test_empty_inputs(size: tuple[int, int, int], device: Device) -> None:
    value, gradient = value_and_gradient(fm_interaction, fields(size, device=device.tensors))
    assert value.shape == size[:1]
    assert not value.any()
    assert gradient.shape == size


def test_derivatives(device: Device) -> None:
    leaf = fields((2, 3, 4), device=device.tensors).requires_grad_()
    assert gradcheck(fm_interaction, (leaf,))
    assert gradgradcheck(fm_interaction, (leaf,))
    third, expected = (
        torch.func.jacrev(torch.func.jacrev(torch.func.grad(lambda e, f=f: f(e).pow(2).sum())))(leaf.detach())
        for f in (fm_interaction, reference.fm_interaction)
    )
    torch.testing.assert_close(third, expected)


def test_opcheck_and_compile() -> None:
    torch._dynamo.reset()
    leaf = fields().requires_grad_()
    torch.library.opcheck(OPS.fm_interaction.default, (leaf,))
    grad = torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(OPS.fm_interaction_backward.default, (grad, leaf))
    compiled = torch.compile(fm_interaction, fullgraph=True, backend="aot_eager")
    for a, b in zip(value_and_gradient(compiled, leaf), value_and_gradient(fm_interaction, leaf), strict=True):
        assert torch.equal(a, b)


def test_strides_and_launches(device: Device) -> None:
    values = fields((700, 3, 8), torch.float32, device.tensors)
    first = value_and_gradient(fm_interaction, values)
    strided = torch.stack([values, torch.full_like(values, torch.nan)], -1)[..., 0]
    for a, b in zip(value_and_gradient(fm_interaction, strided), first, strict=True):
        assert torch.equal(a, b)


def test_thread_count_does_not_change_a_bit(one_and_two_threads: None) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(value_and_gradient(fm_interaction, fields((9001, 3, 8), torch.float32)))
    for one, *others in zip(*results, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_reaches_its_own_sample(bad: float, device: Device) -> None:
    values = fields(device=device.tensors)
    values[2, 1, 3] = bad
    value, gradient = value_and_gradient(fm_interaction, values)
    assert (~value.isfinite()).nonzero().flatten().tolist() == [2]
    assert (~gradient.isfinite()).any(2).any(1).nonzero().flatten().tolist() == [2]


BAD = [
    (torch.zeros(3, 4), r"fields must have 3 dimension\(s\), got shape \[3, 4\]"),
    (torch.zeros(2, 3, 4).long(), "fields must be float32.* got int64"),
    ([1.0], "fields must be a torch.Tensor, got list"),
]


@pytest.mark.parametrize(("value", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_fields_are_named(value: Any, message: str, device: Device) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        fm_interaction(value.to(device.tensors) if isinstance(value, Tensor) else value)
