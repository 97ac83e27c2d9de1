"""The loss and its gradients against the plain-torch twin in float64, over every kind of kernel."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from mf_loss.specs import EVERYTHING, FULL, SPECS, samples
from ops.cases import LOSSES, Case, Spec, assert_near, value_and_gradients
from torch import Tensor

import debias_ext

ULPS = {torch.float64: 64, torch.float32: 32, torch.float16: 1, torch.bfloat16: 1}


def check(case: Case, dtype: torch.dtype, scale: float = 0.0, ulps: float | None = None) -> None:
    actual = value_and_gradients(*case.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert got.dtype == dtype
        assert_near(got, wanted, ulps or ULPS[dtype], scale)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_value_and_gradients_are_those_of_the_reference(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    check(samples(spec, 300, dtype=dtype, device=device.tensors, index=torch.int32), dtype, scale=0.01)


@pytest.mark.parametrize("spec", FULL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_storage_and_sums_are_float32_or_refused(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    if dtype not in device.floats:
        with pytest.raises(ValueError, match=f"must be float32 or float64, got {str(dtype).removeprefix('torch.')}"):
            samples(spec, dtype=dtype, device=device.tensors).fused()
        return
    case = samples(spec, 3000, dtype=dtype, device=device.tensors, users=40, items=50, factors=40)
    # the slopes are rounded once to the dtype of the tables before they are summed
    check(case, dtype, ulps=4)


@pytest.mark.parametrize("factors", [0, 1, 15, 16, 17, 33])
@pytest.mark.parametrize("n", [1, 2, 255, 256, 257])
def test_any_number_of_factors_and_pairs(factors: int, n: int, device: Device) -> None:
    check(samples(EVERYTHING, n, device=device.tensors, factors=factors), torch.float64, scale=1.0)


@pytest.mark.parametrize("rows", [(1, 1), (3, 5000), (5000, 2)])
def test_small_and_large_tables(rows: tuple[int, int], device: Device) -> None:
    case = samples(EVERYTHING, 64, dtype=torch.float32, device=device.tensors, users=rows[0], items=rows[1])
    check(case, torch.float32)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_the_pointwise_loss_of_the_scores(loss: str, device: Device) -> None:
    case = samples(EVERYTHING, 500, dtype=torch.float32, device=device.tensors)
    tensors = {name: value for name, value in case.tensors.items() if name != "pseudo_targets"}
    score = {name: tensors[name] for name in tensors if name not in ("targets", "weights")}
    scores = debias_ext.mf_score(**score)
    composed = debias_ext.pointwise_loss(scores, tensors["targets"], tensors["weights"], loss=loss)
    assert_near(debias_ext.mf_loss(**tensors, loss=loss), composed, 8)


@pytest.mark.parametrize("loss", LOSSES)
def test_pseudo_targets_with_inverse_propensities_are_the_doubly_robust_loss(loss: str, device: Device) -> None:
    case = samples(EVERYTHING, 500, device=device.tensors)
    columns = ("targets", "weights", "pseudo_targets")
    scores = debias_ext.mf_score(**{name: value for name, value in case.tensors.items() if name not in columns})
    propensities = torch.linspace(0.1, 1.0, 500, dtype=torch.float64, device=device.tensors)
    observed = torch.arange(500, device=device.tensors) % 3 == 0
    robust = debias_ext.dr_loss(
        scores, case.tensors["targets"], case.tensors["pseudo_targets"], propensities, observed, loss=loss
    )
    assert_near(case.fused(loss=loss, weights=observed / propensities), robust, 64)


def test_an_offset_that_is_a_number_equals_one_that_is_a_tensor(device: Device) -> None:
    case = samples(EVERYTHING, 40, device=device.tensors)
    assert torch.equal(case.fused(offset=float(case.tensors["offset"])), case.fused())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_no_pairs(reduction: str, device: Device) -> None:
    case = samples(EVERYTHING, 0, device=device.tensors)
    _, leaves = case.of_differentiable()
    value = case.fused(**dict(zip(case.spec.differentiable, leaves, strict=True)), reduction=reduction)
    assert value.isnan() if reduction == "mean" else value == 0
    for leaf, gradient in zip(leaves, torch.autograd.grad(value, leaves), strict=True):
        assert gradient.shape == leaf.shape
        assert not gradient.any()


def strided(tensor: Tensor) -> Tensor:
    """The same values, every other element of a larger tensor, last axis first."""
    if tensor.dim() == 0:
        return tensor
    wide = torch.zeros(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype, device=tensor.device)
    wide[..., ::2] = tensor
    return wide[..., ::2]


def test_layouts_do_not_matter(device: Device) -> None:
    case = samples(EVERYTHING, 40, device=device.tensors)
    function, leaves = case.of_differentiable()
    apart = case.map(strided)
    assert not any(tensor.is_contiguous() for tensor in apart.tensors.values() if tensor.dim())
    strides, _ = apart.of_differentiable()
    views = tuple(strided(leaf.detach()).requires_grad_() for leaf in leaves)
    for got, wanted in zip(value_and_gradients(strides, views), value_and_gradients(function, leaves), strict=True):
        assert torch.equal(got, wanted)


EXTREME = (-60.0, -30.0, -1e-30, -0.0, 0.0, 1e-30, 17.0, 60.0)


@pytest.mark.parametrize("spec", [s for s in SPECS if dict(s.options)["reduction"] == "sum"] + FULL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_saturated_scores(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    n = len(EXTREME)
    case = samples(spec, n, dtype=dtype, device=device.tensors, users=n, items=1, factors=1)
    every = torch.arange(n, device=device.tensors)
    case.tensors["users"], case.tensors["items"] = every, torch.zeros_like(every)
    case.tensors["user_factors"] = torch.tensor(EXTREME, dtype=dtype, device=device.tensors).unsqueeze(1)
    case.tensors["item_factors"] = torch.ones(1, 1, dtype=dtype, device=device.tensors)
    case = case.map(lambda t: t)
    for name in ("user_bias", "item_bias", "offset"):
        if name in case.tensors:
            case.tensors[name] = torch.zeros_like(case.tensors[name])
    actual = value_and_gradients(*case.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert got.isfinite().all()
        torch.testing.assert_close(got.double(), wanted, rtol=2e-5 if dtype == torch.float32 else 1e-13, atol=1e-9)


@pytest.mark.parametrize("name", ["user_factors", "item_bias", "offset", "targets", "weights", "pseudo_targets"])
def test_nan_propagates(name: str, device: Device) -> None:
    case = samples(EVERYTHING, 40, device=device.tensors)
    leaves = case.leaves()
    with torch.no_grad():
        leaves[name].reshape(-1)[0] = float("nan")
    users = case.tensors["users"].clone()
    users[3] = 0
    value = case.fused(**leaves, users=users)
    assert value.isnan()
    value.backward()
    touched = leaves["user_factors"].grad.isnan().any(1)
    assert touched.any()
    if name in ("targets", "weights", "pseudo_targets"):
        assert touched.nonzero().flatten().tolist() == [int(users[0])]
