"""torch.func transforms, batched cotangents, and autocast."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from ops.cases import SMALL, Spec, assert_near, sample_inputs
from torch.func import grad, jacrev, jvp, vjp, vmap

import debias_ext

LOSS_SPECS = [spec for spec in SMALL if spec.op != "mf_score"]


def scalars(spec: Spec) -> tuple:
    case = sample_inputs(spec)
    fused, leaves = case.of_differentiable()
    twin, _ = case.of_differentiable("reference")
    values = tuple(leaf.detach() for leaf in leaves)
    return lambda *v: fused(*v).pow(3).sum(), lambda *v: twin(*v).pow(3).sum(), values


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_grad(spec: Spec) -> None:
    fused, twin, values = scalars(spec)
    every = tuple(range(len(values)))
    for got, wanted in zip(grad(fused, every)(*values), grad(twin, every)(*values), strict=True):
        assert_near(got, wanted, 256)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_grad_of_grad_and_mixed_derivatives(spec: Spec) -> None:
    fused, twin, values = scalars(spec)
    for outer in range(len(values)):

        def second(function, *v, outer=outer):
            return grad(lambda *w: grad(function)(*w).pow(3).sum(), outer)(*v)

        assert_near(second(fused, *values), second(twin, *values), 1e4)


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_hessian_by_jacobians_of_jacobians(spec: Spec) -> None:
    fused, twin, values = scalars(spec)
    assert_near(jacrev(jacrev(fused))(*values), jacrev(jacrev(twin))(*values), 1e4)


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_over_gradients(spec: Spec) -> None:
    fused, twin, values = scalars(spec)
    several = torch.stack([values[0], values[0] / 2, values[0] * 0.9])
    in_dims = (0, *[None] * (len(values) - 1))
    for of in (lambda f: f, grad):
        assert_near(vmap(of(fused), in_dims)(several, *values[1:]), vmap(of(twin), in_dims)(several, *values[1:]), 256)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_over_the_mask_of_observed_rows() -> None:
    case = sample_inputs(LOSS_SPECS[-1])
    masks = torch.stack([case.tensors["observed"], ~case.tensors["observed"]])
    got = vmap(lambda mask: case.fused(observed=mask))(masks)
    assert_near(got, torch.stack([case.reference(observed=mask) for mask in masks]), 64)


def test_vjp_and_none_for_an_optional_tensor() -> None:
    case = sample_inputs(LOSS_SPECS[0])
    scores, targets = case.tensors["scores"], case.tensors["targets"]
    value, pull_back = vjp(lambda s: debias_ext.pointwise_loss(s, targets, reduction="none"), scores)
    assert_near(pull_back(torch.ones_like(value))[0], 2 * (scores - targets), 8)


def test_a_transform_inside_eager_autograd_keeps_the_outer_graph() -> None:
    case = sample_inputs(LOSS_SPECS[-1])
    leaves = case.leaves()
    inner = grad(lambda scores: case.fused(scores=scores, propensities=leaves["propensities"]))(leaves["scores"])
    outer = torch.autograd.grad(inner.pow(3).sum(), (leaves["scores"], leaves["propensities"]))
    (slope,) = torch.autograd.grad(case.reference(**leaves), leaves["scores"], create_graph=True)
    wanted = torch.autograd.grad(slope.pow(3).sum(), (leaves["scores"], leaves["propensities"]))
    for got, expected in zip(outer, wanted, strict=True):
        assert_near(got, expected, 256)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_batched_cotangents(spec: Spec) -> None:
    case = sample_inputs(spec)
    options = {} if spec.op in ("mf_score", "snips_loss") else {"reduction": "none"}
    leaf = case.leaves()[spec.differentiable[0]]
    value = case.fused(**{spec.differentiable[0]: leaf}, **options)
    rows = torch.eye(max(1, value.numel())).double().reshape(-1, *value.shape)
    (batched,) = torch.autograd.grad(value, leaf, rows, retain_graph=True, is_grads_batched=True)
    one_by_one = [torch.autograd.grad(value, leaf, row, retain_graph=True)[0] for row in rows]
    assert_near(batched, torch.stack(one_by_one), 2)


@pytest.mark.parametrize("spec", LOSS_SPECS, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_losses_run_in_float32_under_autocast(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    case = sample_inputs(spec, dtype=dtype, device=device.tensors)
    leaves = case.leaves()
    with torch.autocast(device.tensors, dtype=torch.bfloat16):
        value = case.fused(**leaves)
        mixed = case.fused(**{spec.tensors[0]: case.tensors[spec.tensors[0]].float()})
    value.backward()
    assert value.dtype == mixed.dtype == torch.float32
    assert_near(value.detach(), case.double().reference(), 32)
    assert_near(mixed, value.detach(), 4)
    assert all(leaf.grad.dtype == dtype and leaf.grad.isfinite().all() for leaf in leaves.values())


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_forward_mode_is_refused(spec: Spec) -> None:
    fused, _, values = scalars(spec)
    with pytest.raises(NotImplementedError, match="jvp"):
        jvp(fused, values, values)
