"""Strides, index types, and inputs without rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import Device
from ops.cases import LOSS_SPECS, SMALL, SPECS, Spec, assert_near, sample_inputs, value_and_gradients
from torch import Tensor


def transposed(tensor: Tensor) -> Tensor:
    return tensor.t().contiguous().t() if tensor.dim() == 2 else tensor


def sliced(tensor: Tensor) -> Tensor:
    if tensor.dim() == 0:
        return torch.stack([tensor, tensor])[1]
    return torch.stack([tensor, torch.zeros_like(tensor)], dim=-1)[..., 0]


def shifted(tensor: Tensor) -> Tensor:
    return torch.cat([tensor.reshape(-1)[:1], tensor.reshape(-1)])[1:].view_as(tensor)


def negated(tensor: Tensor) -> Tensor:
    return torch._neg_view(-tensor) if tensor.is_floating_point() else tensor


LAYOUTS: list[Callable[[Tensor], Tensor]] = [transposed, sliced, shifted, negated]


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_strides_do_not_matter(spec: Spec, layout: Callable[[Tensor], Tensor], device: Device) -> None:
    case = sample_inputs(spec, 20, device=device.tensors)
    function, leaves = case.of_differentiable()
    laid_out, _ = case.map(layout).of_differentiable()
    got = value_and_gradients(lambda *values: laid_out(*[layout(value) for value in values]), leaves)
    for actual, expected in zip(got, value_and_gradients(function, leaves), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_expanded_arguments(spec: Spec, device: Device) -> None:
    one = sample_inputs(spec, 1, users=1, items=1, device=device.tensors)
    case = one.map(lambda t: t.expand(6, *t.shape[1:]) if t.dim() else t)
    if spec.op == "mf_score":
        case = case.map(lambda t: t if t.is_floating_point() else t * 5)
    function, leaves = case.map(torch.clone).of_differentiable()
    value = case.fused(**dict(zip(spec.differentiable, [leaf.detach() for leaf in leaves], strict=True)))
    assert torch.equal(case.fused(), value)
    assert torch.equal(function(*leaves).detach(), value)


def test_matrices_of_transposed_scores(device: Device) -> None:
    for spec in SMALL[:-1]:
        flat = sample_inputs(spec, 12, device=device.tensors)
        matrix = flat.map(lambda tensor: tensor.reshape(3, 4))
        mixed = {name: tensor.t().contiguous().t() for name, tensor in list(matrix.tensors.items())[1:]}
        function, leaves = flat.of_differentiable()
        wanted = value_and_gradients(function, leaves)
        arguments = [leaf.detach().reshape(3, 4).requires_grad_() for leaf in leaves]
        given = {name: tensor for name, tensor in mixed.items() if name not in spec.differentiable}
        twin = lambda *v, m=matrix, s=spec, g=given: m.fused(**{**g, **dict(zip(s.differentiable, v, strict=True))})  # noqa: E731
        for got, expected in zip(value_and_gradients(twin, tuple(arguments)), wanted, strict=True):
            assert torch.equal(got.reshape(-1), expected.reshape(-1))


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("sparse_grad", [False, True])
def test_index_types_give_the_same_bits(index: torch.dtype, sparse_grad: bool, device: Device) -> None:
    results = []
    for dtype in (torch.int64, index):
        case = sample_inputs(SMALL[-1], 300, index=dtype, device=device.tensors)
        leaves = case.leaves()
        case.fused(**leaves, sparse_grad=sparse_grad).square().sum().backward()
        results.append([leaf.grad.to_dense() for leaf in leaves.values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_no_rows(spec: Spec, device: Device) -> None:
    for which in ("fused", "reference"):
        function, leaves = sample_inputs(spec, 0, device=device.tensors).of_differentiable(which)
        value, *gradients = value_and_gradients(function, leaves)
        reduction = "none" if spec.op == "mf_score" else dict(spec.options).get("reduction", "mean")
        if reduction == "none":
            assert value.shape == (0,)
        else:
            assert value.shape == ()
            assert bool(value.isnan()) is (reduction == "mean")
        for leaf, gradient in zip(leaves, gradients, strict=True):
            assert gradient.shape == leaf.shape
            assert not gradient.any()


@pytest.mark.parametrize("spec", [s for s in LOSS_SPECS if s.op == "dr_loss"], ids=str)
def test_targets_and_propensities_of_unobserved_rows_are_not_read(spec: Spec, device: Device) -> None:
    case = sample_inputs(spec, 60, device=device.tensors)
    clean = value_and_gradients(*case.of_differentiable())
    hidden = ~case.tensors["observed"]
    for garbage in (float("nan"), 0.0, -7.0, float("inf"), 1e300):
        tensors = {name: case.tensors[name].clone() for name in ("targets", "propensities")}
        for tensor in tensors.values():
            tensor[hidden] = garbage
        for which in ("fused", "reference"):
            function, leaves = case.of_differentiable(which)
            leaves = tuple(
                tensors[name].clone().requires_grad_() if name in tensors else leaf
                for name, leaf in zip(spec.differentiable, leaves, strict=True)
            )
            for got, wanted in zip(value_and_gradients(function, leaves), clean, strict=True):
                assert_near(got, wanted, 0 if which == "fused" else 64)
    assert not clean[2][hidden].any()
    assert not clean[4][hidden].any()
