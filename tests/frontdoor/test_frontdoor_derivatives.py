"""frontdoor_aggregate under autograd, torch.func, torch.compile and opcheck."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from frontdoor.cases import problem
from torch import Tensor

from debias_ext import frontdoor_aggregate, reference

CASES = [{"logits": False}, {"logits": True}, {"exclude": "index"}]
OPS = torch.ops.debias_ext


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("options", CASES, ids=str)
def test_gradients_once_and_twice(options: dict[str, object], device: Device) -> None:
    case = problem(3, 2, 4, 3, device=device.tensors, **options)

    def function(*tensors: Tensor) -> Tensor:
        return case.call(frontdoor_aggregate, *tensors)

    assert torch.autograd.gradcheck(function, case.leaves())
    assert torch.autograd.gradgradcheck(function, case.leaves())


@pytest.mark.parametrize("wanted", range(5))
def test_one_gradient_alone(wanted: int, device: Device) -> None:
    case = problem(9, 2, 130, 3, device=device.tensors)
    every = case.value_and_gradients(frontdoor_aggregate)[1 + wanted]
    tensors = list(case.tensors)
    tensors[wanted] = tensors[wanted].clone().requires_grad_()
    value = case.call(frontdoor_aggregate, *tensors)
    (alone,) = torch.autograd.grad(value, tensors[wanted], torch.linspace(-1, 1, 9).bfloat16().to(value))
    assert torch.equal(alone, every)


def test_no_gradient_is_no_graph() -> None:
    case = problem()
    assert not case.call(frontdoor_aggregate).requires_grad
    with torch.no_grad():
        assert not case.call(frontdoor_aggregate, *case.leaves()).requires_grad


def test_two_backward_passes_agree() -> None:
    case = problem()
    leaves = case.leaves()
    value = case.call(frontdoor_aggregate, *leaves).sum()
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    second = torch.autograd.grad(value, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_first_derivatives_with_a_graph_are_those_of_the_kernel() -> None:
    case = problem()
    leaves = case.leaves()
    value = case.call(frontdoor_aggregate, *leaves).sum()
    plain = torch.autograd.grad(value, leaves, retain_graph=True)
    with_graph = torch.autograd.grad(value, leaves, create_graph=True)
    assert all(torch.equal(a, b) and b.requires_grad for a, b in zip(plain, with_graph, strict=True))


@pytest.mark.parametrize("options", CASES, ids=str)
def test_functional_gradients(options: dict[str, object]) -> None:
    case = problem(**options)

    def loss(function, *tensors: Tensor) -> Tensor:
        return case.call(function, *tensors).square().sum()

    positions = tuple(range(5))
    got = torch.func.grad(lambda *t: loss(frontdoor_aggregate, *t), positions)(*case.tensors)
    expected = torch.func.grad(lambda *t: loss(reference.frontdoor_aggregate, *t), positions)(*case.tensors)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)

    def hessian(function) -> Tensor:
        of_bias = torch.func.grad(lambda bias: loss(function, *case.tensors[:4], bias))
        return torch.func.jacrev(of_bias)(case.tensors[4])

    torch.testing.assert_close(hessian(frontdoor_aggregate), hessian(reference.frontdoor_aggregate))


@pytest.mark.parametrize("options", CASES, ids=str)
def test_full_graph_compilation(options: dict[str, object]) -> None:
    case = problem(**options)
    compiled = torch.compile(frontdoor_aggregate, fullgraph=True, backend="aot_eager")
    for a, b in zip(case.value_and_gradients(compiled), case.value_and_gradients(frontdoor_aggregate), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("exclude", ["", "index"])
def test_opcheck(exclude: str) -> None:
    case = problem(3, 2, 4, 3, exclude=exclude)
    leaves = case.leaves()
    options = (False, bool(exclude), case.options.get("context_index"))
    torch.library.opcheck(OPS.frontdoor_aggregate.default, (*leaves, *options, True))
    means = OPS.frontdoor_aggregate(*case.tensors, *options, True)[1]
    grad = torch.linspace(-1, 1, 3, dtype=torch.float64, requires_grad=True)
    for needs in (31, 5):
        torch.library.opcheck(OPS.frontdoor_aggregate_backward.default, (grad, means, *leaves, *options, needs))


def test_the_backward_operator_has_a_derivative() -> None:
    case = problem(3, 2, 4, 3)
    means = OPS.frontdoor_aggregate(*case.tensors, False, False, None, True)[1]
    grad = torch.linspace(-1, 1, 3, dtype=torch.float64, requires_grad=True)

    def by_hand(grad: Tensor) -> tuple[Tensor, ...]:
        return OPS.frontdoor_aggregate_backward(grad, means, *case.tensors, False, False, None, 31)

    assert torch.autograd.gradcheck(by_hand, (grad,))


def test_autocast_computes_in_float32() -> None:
    case = problem(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert case.call(frontdoor_aggregate).dtype == torch.float32
