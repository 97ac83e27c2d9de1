"""The backward pass hands its saved buffers over once, and never writes them again."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from ops.cases import LOSS_SPECS, SMALL, Spec, assert_near, sample_inputs

LOSSES_OF_ROWS = [
    s for s in LOSS_SPECS if dict(s.options).get("reduction") == "none" and dict(s.options)["loss"] == "mse"
]


@pytest.mark.parametrize("spec", SMALL + LOSSES_OF_ROWS, ids=str)
def test_backward_twice_gives_equal_gradients(spec: Spec, device: Device) -> None:
    function, leaves = sample_inputs(spec, device=device.tensors).of_differentiable()
    value = function(*leaves).sum()
    first = [gradient.clone() for gradient in torch.autograd.grad(value, leaves, retain_graph=True)]
    second = [gradient.clone() for gradient in torch.autograd.grad(value, leaves, retain_graph=True)]
    third = torch.autograd.grad(2 * value, leaves)
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(2 * a, c)


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("scale", [1.0, -2.0, 0.0])
def test_gradient_of_a_scaled_loss(spec: Spec, scale: float, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    function, leaves = case.of_differentiable()
    (scale * function(*leaves).sum()).backward()
    twin, twin_leaves = case.of_differentiable("reference")
    (scale * twin(*twin_leaves).sum()).backward()
    for leaf, wanted in zip(leaves, twin_leaves, strict=True):
        assert_near(leaf.grad, wanted.grad, 64)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_gradients_accumulate_over_backward_passes(spec: Spec, device: Device) -> None:
    function, leaves = sample_inputs(spec, device=device.tensors).of_differentiable()
    one = [gradient.clone() for gradient in torch.autograd.grad(function(*leaves).sum(), leaves)]
    value = function(*leaves).sum()
    value.backward(retain_graph=True)
    held = [leaf.grad for leaf in leaves]
    value.backward()  # the same graph again
    function(*leaves).sum().backward()  # another graph
    for leaf, grad, single in zip(leaves, held, one, strict=True):
        assert leaf.grad is grad  # accumulated in place, into the buffer of the first pass
        assert_near(grad, 3 * single, 8)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_a_later_pass_leaves_earlier_gradients_alone(spec: Spec, device: Device) -> None:
    function, leaves = sample_inputs(spec, device=device.tensors).of_differentiable()
    value = function(*leaves).sum()
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    torch.autograd.grad(7 * value, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_forward_and_backward_leave_the_arguments_alone(spec: Spec, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    kept = {name: tensor.clone() for name, tensor in case.tensors.items()}
    function, leaves = case.of_differentiable()
    values = [leaf.detach().clone() for leaf in leaves]
    function(*leaves).sum().backward()
    assert all(torch.equal(case.tensors[name], tensor) for name, tensor in kept.items())
    assert all(torch.equal(leaf, value) for leaf, value in zip(leaves, values, strict=True))


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_an_argument_changed_after_the_forward_pass_is_noticed(spec: Spec, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    tensors = case.leaves()
    changed = tensors[spec.differentiable[0]] * 1.0
    value = case.fused(**{**tensors, spec.differentiable[0]: changed}).sum()
    changed.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_a_released_graph_cannot_be_used_again(spec: Spec, device: Device) -> None:
    function, leaves = sample_inputs(spec, device=device.tensors).of_differentiable()
    value = function(*leaves).sum() * 1.0
    value.backward()
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()
