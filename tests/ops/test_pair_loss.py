"""Pair losses: saturated scores, popularities at their bounds, bad arguments, known limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Device
from ops.cases import PAIR_SPECS, Spec, assert_near, sample_inputs, value_and_gradients

import debias_ext
from debias_ext import reference

DTYPES = [torch.float32, torch.float64]
EXTREME = (-60.0, -30.0, -1e-30, 0.0, 1e-30, 17.0, 60.0)
FULL = next(spec for spec in PAIR_SPECS if len(spec.tensors) == 5)


@pytest.mark.parametrize("spec", PAIR_SPECS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_saturated_scores(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    n = len(EXTREME) ** 2
    case = sample_inputs(spec, n, dtype=dtype, device=device.tensors)
    extreme = torch.tensor(EXTREME, dtype=dtype, device=device.tensors)
    case.tensors["positive_scores"] = extreme.repeat(len(EXTREME))
    case.tensors["negative_scores"] = extreme.repeat_interleave(len(EXTREME))
    actual = value_and_gradients(*case.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert got.isfinite().all()
        torch.testing.assert_close(
            got.double(), wanted, rtol={torch.float32: 2e-5, torch.float64: 1e-13}[dtype], atol=1e-9
        )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("difference", [-60.0, -1.0, 0.0, 1e-8, 20.0, 60.0])
def test_bpr_keeps_all_digits(difference: float, dtype: torch.dtype, device: Device) -> None:
    s = torch.tensor([difference], dtype=dtype, device=device.tensors, requires_grad=True)
    zero = torch.zeros_like(s).detach().requires_grad_()
    value = debias_ext.pair_loss(s, zero)
    value.backward()
    wide = np.longdouble(float(s.detach()))
    e = np.exp(-np.abs(wide))
    unit = torch.finfo(dtype).eps
    assert float(value.detach()) == pytest.approx(float(np.maximum(-wide, 0) + np.log1p(e)), rel=3 * unit, abs=0)
    assert float(s.grad) == pytest.approx(float(-np.where(wide > 0, e, 1) / (1 + e)), rel=3 * unit, abs=0)
    assert torch.equal(zero.grad, -s.grad)


def test_unbiased_bpr_is_the_sum_of_weighted_pairs(device: Device) -> None:
    case = sample_inputs(PAIR_SPECS[3], 200, device=device.tensors)
    positive, negative, weights = case.tensors.values()
    pairs = torch.stack([debias_ext.pair_loss(p, n) for p, n in zip(positive, negative, strict=True)])
    assert_near(debias_ext.pair_loss(positive, negative, weights=weights), (weights * pairs).mean(), 64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_powers_of_a_popularity(dtype: torch.dtype, device: Device) -> None:
    tiny = torch.finfo(dtype).smallest_normal
    m = torch.tensor([0.0, tiny / 8, tiny, 1e-6, 0.3, 0.5, 1 - 2.0**-20, 1.0], dtype=dtype, device=device.tensors)
    ones, scores = torch.ones_like(m), torch.full_like(m, 2.0)
    for gamma in (0.0, 0.02, 0.25, 1.0, 7.5):
        options = {"kind": "pda", "gamma": gamma, "reduction": "none"}
        given = {"positive_popularity": m, "negative_popularity": ones}
        got = debias_ext.pair_loss(scores, scores, **given, **options)
        exact = {name: value.double() for name, value in given.items()}
        wanted = reference.pair_loss(scores.double(), scores.double(), **exact, **options)
        torch.testing.assert_close(got.double(), wanted, rtol=32 * torch.finfo(dtype).eps, atol=0)


def test_popularity_zero_gives_no_gradient_and_zero_to_the_zero_is_one(device: Device) -> None:
    case = sample_inputs(FULL, 5, device=device.tensors)
    nothing = torch.zeros(5, dtype=torch.float64, device=device.tensors)
    leaf = case.leaves()["positive_scores"]
    (gradient,) = torch.autograd.grad(case.fused(positive_scores=leaf, positive_popularity=nothing), leaf)
    assert not gradient.any()
    plain = case.fused(positive_popularity=None, negative_popularity=None, gamma=0.0)
    assert_near(case.fused(positive_popularity=nothing, gamma=0.0), plain, 8)


@pytest.mark.parametrize("name", ["positive_popularity", "negative_popularity"])
@pytest.mark.parametrize("bad", [-0.1, 1.0000001, float("inf"), float("nan")])
def test_popularity_outside_its_range(name: str, bad: float, device: Device) -> None:
    case = sample_inputs(FULL, 5000, dtype=torch.float32, device=device.tensors)
    values = case.tensors[name].clone()
    values[[2500, 4999]] = bad
    where = r"got \S+ at row 2500 \(2 such rows\)$" if device.name == "cpu" else "got other values$"
    with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\], " + where):
        case.fused(**{name: values})
    if device.name == "cpu":
        with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\]"):
            case.fused(**{name: values}, validate=False)
    else:
        assert case.fused(**{name: values}, validate=False).shape == ()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "hinge"}, "^kind must be 'bpr' or 'pda', got 'hinge'"),
        ({"kind": "bpr"}, "^positive_popularity is for kind 'pda' only"),
        ({"kind": "bpr", "positive_popularity": None}, "^negative_popularity is for kind 'pda' only"),
        ({"kind": "bpr", "positive_popularity": None, "negative_popularity": None}, "^gamma must be 0 for kind 'bpr'"),
        ({"positive_popularity": None}, "^positive_popularity must be given together with negative_popularity"),
        ({"positive_popularity": None, "negative_popularity": None}, "^gamma must be 0 without popularities, got 0.2"),
        ({"gamma": -0.1}, "^gamma must be finite and not negative, got -0.1"),
        ({"gamma": float("nan")}, "^gamma must be finite and not negative"),
        ({"gamma": float("inf")}, "^gamma must be finite and not negative"),
        ({"reduction": "average"}, "^reduction must be 'mean', 'sum' or 'none', got 'average'"),
    ],
    ids=str,
)
def test_options(options: dict, match: str, device: Device) -> None:
    with pytest.raises(ValueError, match=match):
        sample_inputs(FULL, device=device.tensors).fused(**options)


@pytest.mark.parametrize("name", ["positive_scores", "negative_scores", "weights"])
def test_nan_stays_in_its_row_and_reaches_the_reduced_loss(name: str, device: Device) -> None:
    case = sample_inputs(FULL, 40, device=device.tensors)
    tensors = case.leaves()
    with torch.no_grad():
        tensors[name][11] = float("nan")
    rows = case.fused(**tensors, reduction="none")
    assert rows.isnan().nonzero().flatten().tolist() == [11]
    rows.sum().backward()
    assert {tuple(leaf.grad.isnan().nonzero().flatten().tolist()) for leaf in tensors.values()} <= {(), (11,)}
    assert case.fused(**tensors).isnan()
