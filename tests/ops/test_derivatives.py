"""First and second derivatives against finite differences, and chains of them against the plain-torch twin."""

from __future__ import annotations

import pytest
import torch
from ops.cases import SMALL, SPECS, Spec, assert_near, sample_inputs
from torch.autograd import gradcheck, gradgradcheck


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_first_and_second_derivatives(spec: Spec) -> None:
    function, leaves = sample_inputs(spec, 3, users=3, items=2, factors=2).of_differentiable()
    assert gradcheck(function, leaves, fast_mode=spec not in SMALL)
    assert gradgradcheck(function, leaves, fast_mode=spec not in SMALL)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_gradcheck_over_batched_cotangents(spec: Spec) -> None:
    function, leaves = sample_inputs(spec, 4).of_differentiable()
    assert gradcheck(function, leaves, check_batched_grad=True)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_derivatives_in_some_of_the_arguments_only(spec: Spec) -> None:
    case = sample_inputs(spec, 4)
    for name in spec.differentiable:
        function = lambda value, name=name: case.fused(**{name: value})  # noqa: E731
        leaf = case.leaves()[name]
        assert gradcheck(function, (leaf,))
        assert gradgradcheck(function, (leaf,))


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_third_derivative_by_chained_backward_passes(spec: Spec) -> None:
    def third(which: str) -> list[torch.Tensor]:
        function, leaves = sample_inputs(spec, 5).of_differentiable(which)
        value = function(*leaves).pow(3).sum()
        for _ in range(3):
            gradients = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
            value = sum((gradient.pow(3).sum() for gradient in gradients), start=torch.zeros(()).double())
        return [gradient.detach() for gradient in gradients]

    for fused, expected in zip(third("fused"), third("reference"), strict=True):
        assert_near(fused, expected, 1e5)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_graph_with_create_graph_survives_further_passes(spec: Spec) -> None:
    function, leaves = sample_inputs(spec).of_differentiable()
    value = function(*leaves).sum()
    with_graph = torch.autograd.grad(value, leaves, create_graph=True)
    again = torch.autograd.grad(value, leaves, retain_graph=True)
    twice = [
        torch.autograd.grad(with_graph[0].square().sum(), leaves, retain_graph=True, allow_unused=True) for _ in "ab"
    ]
    for first, second in zip(with_graph, again, strict=True):
        assert_near(second, first.detach(), 64)
    for first, second in zip(*twice, strict=True):
        assert (first is None and second is None) or torch.equal(first, second)


def test_binary_cross_entropy_is_smooth_at_score_zero() -> None:
    spec = next(s for s in SMALL if s.op == "pointwise_loss")
    zeros = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    case = sample_inputs(spec, 3)
    assert gradgradcheck(lambda scores: case.fused(scores=scores), (zeros,))
    for call in (case.fused, case.reference):
        (slope,) = torch.autograd.grad(call(scores=zeros).sum(), zeros, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), zeros)
        assert_near(slope.detach() * 3, case.tensors["weights"] * (0.5 - case.tensors["targets"]), 8)
        assert_near(curvature * 3, case.tensors["weights"] / 4, 8)


def test_forward_mode_is_refused_and_never_silently_zero() -> None:
    import torch.autograd.forward_ad as forward_ad

    for spec in SMALL:
        case = sample_inputs(spec)
        name = spec.differentiable[0]
        with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
            case.fused(**{name: forward_ad.make_dual(case.tensors[name], torch.ones_like(case.tensors[name]))})
