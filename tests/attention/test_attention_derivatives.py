"""attention_pooling under autograd, torch.func, torch.compile and opcheck."""

from __future__ import annotations

import pytest
import torch
from attention.cases import ACTIVATIONS, problem
from conftest import Device
from torch import Tensor

from debias_ext import attention_pooling, reference

OPS = torch.ops.debias_ext


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_once_and_twice(activation: str, device: Device) -> None:
    case = problem(3, 4, 2, (3, 2), activation, device=device.tensors)

    def function(*tensors: Tensor) -> Tensor:
        return case.call(attention_pooling, *tensors)

    assert torch.autograd.gradcheck(function, case.leaves(), fast_mode=device.name != "cpu")
    assert torch.autograd.gradgradcheck(function, case.leaves(), fast_mode=True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_one_gradient_alone(wanted: int, activation: str, device: Device) -> None:
    case = problem(activation=activation, device=device.tensors)
    every = case.leaves()
    expected = torch.autograd.grad(case.call(attention_pooling, *every).sum(), every[wanted])
    tensors = list(case.tensors)
    tensors[wanted] = tensors[wanted].clone().requires_grad_()
    alone = torch.autograd.grad(case.call(attention_pooling, *tensors).sum(), tensors[wanted])
    assert torch.equal(alone[0], expected[0])


def test_no_gradient_is_no_graph() -> None:
    case = problem()
    assert not case.call(attention_pooling).requires_grad
    with torch.no_grad():
        assert not case.call(attention_pooling, *case.leaves()).requires_grad
        _, hidden, *_ = OPS.attention_pooling(
            *case.tensors[:2], case.lengths, torch.zeros(111).double(), [6, 4, 1], None, "relu", 1e-8, False, True
        )
        assert hidden.numel() == 0
    _, statistics = case.call(attention_pooling, *case.leaves(), return_statistics=True)
    assert not any(tensor.requires_grad for pair in statistics for tensor in pair)


def test_two_backward_passes_agree() -> None:
    case = problem()
    leaves = case.leaves()
    value = case.call(attention_pooling, *leaves).sum()
    plain = torch.autograd.grad(value, leaves, retain_graph=True)
    with_graph = torch.autograd.grad(value, leaves, create_graph=True)
    assert all(torch.equal(a, b) and b.requires_grad for a, b in zip(plain, with_graph, strict=True))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_functional_gradients(activation: str) -> None:
    case = problem(activation=activation)
    positions = tuple(range(len(case.tensors)))
    got, expected = (
        torch.func.grad(lambda *t, f=f: case.call(f, *t).square().sum(), positions)(*case.tensors)
        for f in (attention_pooling, reference.attention_pooling)
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("activation", ["relu", "dice"])
def test_full_graph_compilation(activation: str) -> None:
    case = problem(activation=activation)
    compiled = torch.compile(attention_pooling, fullgraph=True, backend="aot_eager")
    for a, b in zip(case.value_and_gradients(compiled), case.value_and_gradients(attention_pooling), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_opcheck(activation: str) -> None:
    case = problem(3, 4, 2, (3, 2), activation)
    queries, keys, *_ = case.leaves()
    dice = case.activation == "dice"
    parameters = torch.randn(3 * 9 + 2 * 4 + 3 + (5 if dice else 0), dtype=torch.float64, requires_grad=True)
    given = torch.ones(10 if dice else 0, dtype=torch.float64) if activation != "dice" else None
    lengths = torch.full_like(case.lengths, 4)  # pre-activations past a length stay unwritten, and compare with nothing
    tensors = (queries, keys, lengths, parameters)
    options = ([3, 2, 1], given, case.activation, 1e-8)
    torch.library.opcheck(OPS.attention_pooling.default, (*tensors, *options, True, True))
    _, hidden, scores, statistics = (t.detach() for t in OPS.attention_pooling(*tensors, *options, True, True))
    grad = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    used = statistics if given is None else given
    arguments = (grad, hidden, scores, used, *tensors, [3, 2, 1], given is None, case.activation, 1e-8, 7)
    torch.library.opcheck(OPS.attention_pooling_backward.default, arguments)
