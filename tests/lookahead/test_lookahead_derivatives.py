"""How lookahead_loss takes part in autograd: once, in every way into it."""

from __future__ import annotations

import importlib

import pytest
import torch
from conftest import Device
from lookahead.cases import MODES, Case, gradients, sample
from torch import Tensor

lookahead_module = importlib.import_module("debias_ext.ops.lookahead_loss")
DR = {"lower_source": "doubly_robust", "missing": 4}


@pytest.mark.parametrize("mode", ["mse-weights", "bce-propensity_logits", "dr-missing-bce", "adam-bce", "no-bias"])
def test_gradcheck(mode: str) -> None:
    case = sample(**MODES[mode], sizes=(6, 4), tables=(4, 3, 2))
    assert torch.autograd.gradcheck(case.fused, case.leaves())


def test_batched_cotangents_scale_the_gradients() -> None:
    case = sample()
    leaves = case.leaves()
    cotangents = torch.tensor([1.0, -2.0], dtype=torch.float64)
    batched = torch.autograd.grad(case.fused(*leaves), leaves, cotangents, is_grads_batched=True)
    for got, once in zip(batched, gradients(case.fused, case)[1:], strict=True):
        torch.testing.assert_close(got, torch.stack([once, -2 * once]))


def test_only_the_asked_gradients_are_given(device: Device) -> None:
    case = sample(**DR).map(lambda tensor: tensor.to(device.tensors))
    every = gradients(case.fused, case)[1:]
    for k, wanted in enumerate(every):
        leaves = [leaf.detach() for leaf in case.leaves()]
        leaves[k].requires_grad_()
        (got,) = torch.autograd.grad(case.fused(*leaves), leaves[k])
        torch.testing.assert_close(got, wanted)


def test_tables_get_no_gradient() -> None:
    case = sample()
    for table in case.tables.values():
        table.requires_grad_()
    leaves = case.leaves()
    case.fused(*leaves).backward()
    assert all(leaf.grad is not None for leaf in leaves)
    assert all(table.grad is None for table in case.tables.values())
    assert not case.fused().requires_grad


def test_backward_twice_gives_the_same_and_accumulates() -> None:
    case = sample(**DR)
    leaves = case.leaves()
    value = case.fused(*leaves)
    value.backward(retain_graph=True)
    once = [leaf.grad.clone() for leaf in leaves]
    (3 * value).backward()
    for leaf, first in zip(leaves, once, strict=True):
        torch.testing.assert_close(leaf.grad, 4 * first)


def test_gradients_flow_on_into_what_made_the_weights() -> None:
    case = sample(lower_source="propensities")
    position = case.names().index(("lower", "propensities"))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(19, dtype=torch.float64, generator=generator).requires_grad_()

    def of_logits(function: str) -> Tensor:
        leaves = list(case.leaves())
        leaves[position] = 0.1 + 0.9 * torch.sigmoid(logits)
        return torch.autograd.grad(getattr(case, function)(*leaves), logits)[0]

    torch.testing.assert_close(of_logits("fused"), of_logits("reference"), rtol=1e-9, atol=1e-12)


def test_a_second_derivative_raises_even_beside_other_terms() -> None:
    case = sample()
    leaves = case.leaves()
    first = torch.autograd.grad(case.fused(*leaves), leaves, create_graph=True)
    for got, wanted in zip(first, gradients(case.fused, case)[1:], strict=True):
        torch.testing.assert_close(got, wanted)
    total = sum(gradient.sum() for gradient in first) + sum(leaf.square().sum() for leaf in leaves)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(total, leaves)


def test_transforms() -> None:
    case = sample(**DR)
    leaves = tuple(leaf.detach() for leaf in case.leaves())
    wanted = gradients(case.fused, case)[1:]
    for got, expected in zip(torch.func.grad(case.fused, tuple(range(len(leaves))))(*leaves), wanted, strict=True):
        torch.testing.assert_close(got, expected)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.func.grad(lambda x: torch.func.grad(case.fused)(x, *leaves[1:]).sum())(leaves[0])


def test_vmap_over_weights() -> None:
    case = sample()
    leaves = [leaf.detach() for leaf in case.leaves()]
    position = case.names().index(("lower", "weights"))
    stacked = torch.stack([leaves[position], 2 * leaves[position], torch.ones_like(leaves[position])])

    def of_weights(weights: Tensor) -> Tensor:
        return case.fused(*leaves[:position], weights, *leaves[position + 1 :])

    got = torch.func.vmap(torch.func.grad(of_weights))(stacked)
    wanted = torch.stack([torch.func.grad(of_weights)(row) for row in stacked])
    torch.testing.assert_close(got, wanted)


def operator_arguments(case: Case, rule: str = "_rule", n_gradients: int = 5) -> tuple[object, ...]:
    """The positional arguments of the operator of a call, with every gradient asked for."""
    recorded: list[object] = []

    def record(tensors: tuple[object, ...], options: tuple[object, ...]) -> Tensor:
        recorded.extend((*tensors, *options))
        return torch.zeros(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookahead_module, rule, record)
        case.fused(*case.leaves())
    needs = sum(1 << k for k, tensor in enumerate(recorded[:n_gradients]) if tensor is not None)
    return (*recorded, needs)


@pytest.mark.parametrize("mode", ["mse-weights", "dr-missing-bce", "adam-no-bias"])
def test_opcheck(mode: str) -> None:
    torch.library.opcheck(torch.ops.debias_ext.lookahead_loss.default, operator_arguments(sample(**MODES[mode])))


@pytest.mark.parametrize("mode", ["mse-weights", "dr-missing-bce", "adam-mse"])
def test_compiled_equals_eager(mode: str) -> None:
    torch._dynamo.reset()
    case = sample(**MODES[mode])
    compiled = torch.compile(case.fused, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(gradients(compiled, case), gradients(case.fused, case), strict=True):
        torch.testing.assert_close(got, wanted)


def test_meta_tensors_give_shapes() -> None:
    value = sample(**DR).map(lambda tensor: tensor.to("meta")).fused()
    assert value.is_meta
    assert value.shape == ()
