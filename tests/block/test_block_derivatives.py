"""Derivative rules of `block_loss`: numerically, twice, compiled, under transforms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from block.cases import DETACHED, DIFFERENTIABLE, KINDS, assert_near, sample
from conftest import Device

OPS = torch.ops.debias_ext
HONEST = [kind for kind in KINDS if kind not in DETACHED]
ORDER = (
    *("user_factors", "item_factors", "user_bias", "item_bias", "targets", "weights"),
    *("value", "user_weight", "item_weight", "rated_weights", "rated_values"),
)


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", HONEST)
def test_gradients_are_those_of_the_value(kind: str, device: Device) -> None:
    function, leaves = sample(kind, 3, 4, 5, (2, 2, 1), device=device.tensors).of_differentiable()
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("kind", HONEST)
def test_gradients_of_gradients(kind: str) -> None:
    function, leaves = sample(kind, 2, 3, 4, (2, 2, 1)).of_differentiable()
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("kind", DETACHED)
def test_second_derivatives_treat_detached_scores_as_the_reference_does(kind: str) -> None:
    def twice(name: str) -> list[torch.Tensor]:
        function, leaves = sample(kind).of_differentiable(name)
        gradients = torch.autograd.grad(function(*leaves), leaves, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in gradients), leaves))

    assert_near(twice("fused"), twice("reference"), 64)


@pytest.mark.parametrize("kind", KINDS)
def test_backward_twice_through_one_value(kind: str, device: Device) -> None:
    function, leaves = sample(kind, device=device.tensors).of_differentiable()
    value = function(*leaves)
    first, second = (torch.autograd.grad(value, leaves, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_equals_eager(kind: str) -> None:
    block = sample(kind)
    function, leaves = block.of_differentiable()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    value = compiled(*leaves)
    gradients = torch.autograd.grad(value, leaves, torch.full_like(value, 1.5))
    assert_near([value.detach(), *gradients], block.results(), 4)


@pytest.mark.parametrize("kind", KINDS)
def test_func_grad_equals_backward(kind: str) -> None:
    block = sample(kind)
    function, leaves = block.of_differentiable()
    gradients = torch.func.grad(function, argnums=tuple(range(len(leaves))))(*leaves)
    assert_near([1.5 * g.detach() for g in gradients], block.results()[1:], 64)


def raw_call(kind: str, needs: int) -> tuple[Any, tuple[Any, ...]]:
    tensors = sample(kind).tensors
    leaves = [
        tensors[name].clone().requires_grad_(bool(needs >> k & 1)) if name in DIFFERENTIABLE[kind] else None
        for k, name in enumerate(ORDER)
    ]
    places = (tensors["rows"], tensors["columns"])
    if kind in ("plain", "join", "replace", "own"):
        return OPS.block_constant.default, (*leaves, *places, 0.5, kind == "replace", "sum", True, needs)
    first, second = ([tensors[f"{m}_{part}"] for part in ORDER[:4]] for m in ("first", "second"))
    if kind in ("residual", "label"):
        return OPS.block_imputation.default, (*leaves[:6], *places, *first, kind == "label", "mean", True, needs)
    variant, attached = ("soft", True) if kind == "attached" else (kind, False)
    options = (-0.7, 0.3, variant, not attached, "sum", True, needs)
    return OPS.block_interd.default, (*leaves[:6], *places, *first, *second, *options)


@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind: str) -> None:
    every = sum(1 << k for k, name in enumerate(ORDER) if name in DIFFERENTIABLE[kind])
    for needs in (every, 0, 1):
        torch.library.opcheck(*raw_call(kind, needs))


def test_meta_tensors_give_shapes() -> None:
    for kind in KINDS:
        value = sample(kind).map(lambda tensor: tensor.to("meta")).fused()
        assert value.is_meta
        assert value.shape == ()
