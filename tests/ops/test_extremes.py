"""Saturated scores and logits, propensities at their bounds, and NaN."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Device
from ops.cases import LOSS_SPECS, SMALL, Spec, assert_near, sample_inputs, value_and_gradients

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-13}  # snips_loss: a row's error minus the mean error
EXTREME = (-60.0, -30.0, -1e-30, -0.0, 0.0, 1e-30, 17.0, 60.0)


@pytest.mark.parametrize("spec", LOSS_SPECS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_saturated_scores_and_logits(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    n = len(EXTREME) ** 2
    case = sample_inputs(spec, n, dtype=dtype, device=device.tensors)
    extreme = torch.tensor(EXTREME, dtype=dtype, device=device.tensors)
    case.tensors["scores"] = extreme.repeat(len(EXTREME))
    if "propensity_logits" in spec.tensors:
        case.tensors["propensity_logits"] = extreme.repeat_interleave(len(EXTREME))
    actual = value_and_gradients(*case.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert got.isfinite().all()
        # row by row, so that a large row does not hide an error in a small one
        torch.testing.assert_close(got.double(), wanted, rtol=TOLERANCE[dtype], atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("score", [-60.0, -20.0, -1e-8, 0.0, 1e-8, 20.0, 60.0])
def test_binary_cross_entropy_keeps_all_digits(score: float, dtype: torch.dtype, device: Device) -> None:
    score = float(torch.tensor(score, dtype=dtype))
    leaf = torch.tensor([score], dtype=dtype, device=device.tensors, requires_grad=True)
    case = sample_inputs(LOSS_SPECS[0], 1, dtype=dtype, device=device.tensors)
    value = case.fused(scores=leaf, targets=torch.zeros_like(leaf), loss="bce", reduction="sum")
    value.backward()
    softplus = max(score, 0.0) + math.log1p(math.exp(-abs(score)))
    sigmoid = math.exp(min(score, 0.0)) / (1 + math.exp(-abs(score)))
    unit = torch.finfo(dtype).eps
    assert float(value.detach()) == pytest.approx(softplus, rel=2 * unit, abs=0)
    assert float(leaf.grad) == pytest.approx(sigmoid, rel=3 * unit, abs=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("logit", [-1e30, -1000.0, -87.5, -60.0, -1.0, 0.0, 60.0, 1000.0, 1e30, float("inf")])
def test_inverse_of_an_extreme_logit(logit: float, dtype: torch.dtype, device: Device) -> None:
    leaf = torch.tensor([logit], dtype=dtype, device=device.tensors, requires_grad=True)
    case = sample_inputs(
        next(s for s in SMALL if "propensity_logits" in s.tensors), 1, dtype=dtype, device=device.tensors
    )
    one, zero = torch.ones_like(leaf).detach(), torch.zeros_like(leaf).detach()
    value = case.fused(scores=one, targets=zero, propensity_logits=leaf)
    value.backward()
    smallest = -87.0 if dtype == torch.float32 else -708.0
    inverse = 1 + math.exp(-max(logit, smallest))
    assert float(value.detach()) == pytest.approx(inverse, rel=4 * torch.finfo(dtype).eps)
    slope = -math.exp(-logit) if logit >= smallest else 0.0
    assert float(leaf.grad) == pytest.approx(slope, rel=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("op", ["ips_loss", "snips_loss"])
def test_clipped_propensities_count_as_the_bound_and_have_no_gradient(
    op: str, dtype: torch.dtype, device: Device
) -> None:
    spec = next(s for s in SMALL if s.op == op and "propensities" in s.tensors)
    tiny = float(torch.finfo(dtype).smallest_normal)
    q = torch.tensor([0.25, 0.25 - 1e-6, 1e-30, tiny, tiny / 4, 0.3, 1.0], dtype=dtype, device=device.tensors)
    case = sample_inputs(spec, 7, dtype=dtype, device=device.tensors)
    case.tensors["propensities"] = q
    leaf = q.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(case.fused(propensities=leaf, clip_min=0.25), leaf, create_graph=True)
    assert not gradient[1:5].any()
    assert gradient[5:].all()
    (fused,) = torch.autograd.grad(case.fused(propensities=leaf, clip_min=0.25), leaf)
    assert_near(fused, gradient.detach(), 32)
    assert_near(case.fused(clip_min=0.25), case.reference(propensities=q.clamp(min=0.25)), 32)


@pytest.mark.parametrize("op", ["ips_loss", "snips_loss"])
def test_smooth_floor_of_vanishing_propensities(op: str, device: Device) -> None:
    spec = next(s for s in SMALL if s.op == op and "propensity_logits" in s.tensors)
    case = sample_inputs(spec, 4, device=device.tensors)
    logits = torch.tensor([-700.0, -40.0, 0.0, 50.0], dtype=torch.float64, device=device.tensors)
    floored = 0.05 + 0.95 * torch.sigmoid(logits)
    by_logits = value_and_gradients(lambda t: case.fused(propensity_logits=t, floor=0.05), (logits.requires_grad_(),))
    given = case.reference(propensity_logits=None, propensities=floored.detach())
    assert_near(by_logits[0], given, 32)
    assert by_logits[1].isfinite().all()


@pytest.mark.parametrize("spec", [s for s in LOSS_SPECS if dict(s.options).get("reduction") == "none"], ids=str)
def test_nan_stays_in_its_row_and_reaches_the_reduced_loss(spec: Spec, device: Device) -> None:
    case = sample_inputs(spec, 40, device=device.tensors)
    if "observed" in spec.tensors:
        case.tensors["observed"] = torch.ones(40, dtype=torch.bool, device=device.tensors)
    for name in ("scores", "targets", "weights", "pseudo_targets"):
        if name not in spec.tensors:
            continue
        tensors = case.leaves()
        with torch.no_grad():
            tensors[name][11] = float("nan")
        rows = case.fused(**tensors)
        assert rows.isnan().nonzero().flatten().tolist() == [11]
        rows.sum().backward()
        bad = {tuple(leaf.grad.isnan().nonzero().flatten().tolist()) for leaf in tensors.values()}
        assert bad <= {(), (11,)}
        assert (11,) in bad or name == "targets"
        assert case.fused(**tensors, reduction="mean").isnan()


def test_nan_in_a_score_reaches_the_self_normalised_loss(device: Device) -> None:
    for spec in (s for s in SMALL if s.op == "snips_loss"):
        case = sample_inputs(spec, device=device.tensors)
        case.tensors["scores"][4] = float("nan")
        assert case.fused().isnan()


def test_nan_and_infinity_in_factors_reach_their_scores(device: Device) -> None:
    case = sample_inputs(SMALL[-1], 30, device=device.tensors)
    case.tensors["user_factors"][1, 0] = float("nan")
    case.tensors["item_bias"][2] = float("inf")
    scores = case.fused()
    assert torch.equal(scores.isnan(), case.tensors["users"] == 1)
    assert torch.equal(scores.isinf(), (case.tensors["users"] != 1) & (case.tensors["items"] == 2))
