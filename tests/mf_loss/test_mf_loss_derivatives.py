"""Derivatives of `mf_loss`, twice, compiled, under transforms, and as sparse rows."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from mf_loss.specs import EVERYTHING, FULL, SPECS, samples
from ops.cases import Spec, assert_near, value_and_gradients
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

OPS = torch.ops.debias_ext
TABLES = ("user_factors", "item_factors", "user_bias", "item_bias")
ORDER = ("user_factors", "item_factors", "users", "items", "user_bias", "item_bias", "offset", "targets", "weights")
ORDER += ("exposures", "pseudo_targets")


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_first_and_second_derivatives(spec: Spec) -> None:
    function, leaves = samples(spec, 3, users=3, items=2, factors=2).of_differentiable()
    assert gradcheck(function, leaves, fast_mode=spec not in FULL)
    assert gradgradcheck(function, leaves, fast_mode=spec not in FULL)


@pytest.mark.parametrize("name", EVERYTHING.differentiable)
def test_derivatives_in_one_argument_alone(name: str) -> None:
    case = samples(EVERYTHING, 4)
    leaf = case.leaves()[name]
    assert gradcheck(lambda value: case.fused(**{name: value}), (leaf,))
    if name != "weights":
        assert gradgradcheck(lambda value: case.fused(**{name: value}).square(), (leaf,))


def test_third_derivative_by_chained_backward_passes() -> None:
    def third(which: str) -> list[Tensor]:
        function, leaves = samples(EVERYTHING, 5).of_differentiable(which)
        value = function(*leaves).pow(3)
        for _ in range(3):
            gradients = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
            value = sum((gradient.pow(3).sum() for gradient in gradients), start=torch.zeros(()).double())
        return [gradient.detach() for gradient in gradients]

    for fused, expected in zip(third("fused"), third("reference"), strict=True):
        assert_near(fused, expected, 1e5)


def test_backward_passes_over_one_graph_agree() -> None:
    function, leaves = samples(EVERYTHING).of_differentiable()
    value = function(*leaves)
    passes = [torch.autograd.grad(value, leaves, retain_graph=True) for _ in "ab"]
    passes.append(torch.autograd.grad(value, leaves, create_graph=True))
    for first, second, recorded in zip(*passes, strict=True):
        assert torch.equal(first, second)
        assert_near(recorded.detach(), first, 64)


def test_gradcheck_over_batched_cotangents() -> None:
    function, leaves = samples(EVERYTHING, 4).of_differentiable()
    assert gradcheck(function, leaves, check_batched_grad=True)


@pytest.mark.parametrize("rows", [3, 100000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sparse_gradients_equal_dense_ones(rows: int, dtype: torch.dtype, device: Device) -> None:
    case = samples(EVERYTHING, 200, dtype=dtype, device=device.tensors, users=rows, items=rows + 1)

    def gradients(sparse_grad: bool) -> dict[str, Tensor]:
        leaves = case.leaves()
        given = torch.autograd.grad(3 * case.fused(**leaves, sparse_grad=sparse_grad), tuple(leaves.values()))
        return dict(zip(leaves, given, strict=True))

    dense, sparse = gradients(False), gradients(True)
    for name, wanted in dense.items():
        assert sparse[name].is_sparse is (name in TABLES)
        assert torch.equal(sparse[name].to_dense(), wanted)
        if name in TABLES:
            assert sparse[name].is_coalesced()
            touched = case.tensors["users" if name.startswith("user") else "items"].unique()
            assert torch.equal(sparse[name].indices()[0], touched)


def test_sparse_gradients_are_for_eager_first_derivatives() -> None:
    case = samples(EVERYTHING)
    leaf = case.leaves()["user_factors"]

    def loss(factors: Tensor) -> Tensor:
        return case.fused(user_factors=factors, sparse_grad=True)

    with pytest.raises(RuntimeError, match="second derivatives need sparse_grad=False"):
        torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    with pytest.raises(Exception, match="eager mode only"):
        torch.compile(loss, backend="eager", fullgraph=True)(leaf)
    with pytest.raises(RuntimeError, match=r"torch\.func transforms"):
        grad(loss)(leaf.detach())


@pytest.mark.parametrize("needs", [511, 0, 1, 32])
def test_opcheck(needs: int) -> None:
    case = samples(EVERYTHING)
    differentiable = [name for name in ORDER if name not in ("users", "items")]
    tensors = []
    for name in ORDER:
        tensor = case.tensors.get(name)
        if tensor is not None and name in differentiable and needs >> differentiable.index(name) & 1:
            tensor.requires_grad_()
        tensors.append(tensor)
    torch.library.opcheck(OPS.mf_loss.default, (*tensors, 0.5, "bce", "sum", True, needs))


def test_needs_that_leave_out_a_leaf_raise() -> None:
    leaves = samples(EVERYTHING).leaves()
    tensors = [leaves.get(name, samples(EVERYTHING).tensors.get(name)) for name in ORDER]
    with pytest.raises(RuntimeError, match=r"needs=1 leaves out arguments \[1, 4, 5, 6, 7, 8, 10\]"):
        OPS.mf_loss(*tensors, 0.0, "mse", "sum", True, 1)


@pytest.mark.parametrize("spec", FULL, ids=str)
def test_called_by_hand_it_is_differentiable_twice(spec: Spec) -> None:
    case = samples(spec, 4)

    def by_hand(*values: Tensor) -> Tensor:
        tensors = {**case.tensors, **dict(zip(spec.differentiable, values, strict=True))}
        loss = dict(spec.options)["loss"]
        return OPS.mf_loss(*(tensors.get(name) for name in ORDER), 0.0, loss, "mean", True, 511)[0]

    leaves = tuple(case.leaves().values())
    assert gradcheck(by_hand, leaves)
    assert gradgradcheck(by_hand, leaves)


@pytest.mark.parametrize("spec", FULL, ids=str)
def test_compiled_equals_eager(spec: Spec) -> None:
    function, leaves = samples(spec).of_differentiable()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(value_and_gradients(compiled, leaves), value_and_gradients(function, leaves), strict=True):
        assert_near(got, wanted, 4)
    with torch.no_grad():
        assert_near(compiled(*leaves), function(*leaves), 4)


def test_meta_tensors_give_shapes() -> None:
    value = samples(EVERYTHING).map(lambda tensor: tensor.to("meta")).fused()
    assert value.is_meta
    assert value.shape == ()
    assert value.dtype == torch.float64


@pytest.mark.parametrize("spec", FULL, ids=str)
def test_transforms(spec: Spec) -> None:
    case = samples(spec, 4)
    fused, leaves = case.of_differentiable()
    twin, _ = case.of_differentiable("reference")
    values = tuple(leaf.detach() for leaf in leaves)
    every = tuple(range(len(values)))
    for got, wanted in zip(grad(fused, every)(*values), grad(twin, every)(*values), strict=True):
        assert_near(got, wanted, 256)
    for outer in every:

        def second(function, *v, outer=outer):
            return grad(lambda *w: grad(function)(*w).pow(3).sum(), outer)(*v)

        assert_near(second(fused, *values), second(twin, *values), 1e4)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_over_tables() -> None:
    case = samples(EVERYTHING, 4)
    tables = torch.stack([case.tensors["user_factors"], case.tensors["user_factors"] / 2])
    for of in (lambda f: f, grad):
        got = vmap(of(lambda table: case.fused(user_factors=table)))(tables)
        assert_near(got, vmap(of(lambda table: case.reference(user_factors=table)))(tables), 256)


def test_forward_mode_is_refused_and_never_silently_zero() -> None:
    import torch.autograd.forward_ad as forward_ad

    case = samples(EVERYTHING)
    factors = case.tensors["user_factors"]
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        case.fused(user_factors=forward_ad.make_dual(factors, torch.ones_like(factors)))
