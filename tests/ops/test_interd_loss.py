"""`interd_loss`: its limits, the detached imputed form, saturation, NaN, and what it refuses."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Device
from ops.cases import INTERD_SPECS, SMALL, assert_near, sample_inputs, value_and_gradients
from ops.test_inputs import assert_refused
from torch import Tensor

import debias_ext
from debias_ext import _library, interd_loss, reference
from debias_ext.reference._losses import interd_epsilon

SMALL_SPEC = next(s for s in SMALL if s.op == "interd_loss")
RATED = ("biased", "debiased", "ratings", "debiased_weight")
DTYPES = [torch.float32, torch.float64]
NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def rows(n: int, device: Device, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return sample_inputs(SMALL_SPEC, n, dtype=dtype, device=device.tensors).tensors


def of_dtype(dtype: torch.dtype, **options: Any) -> Any:
    """The reference with the epsilon of this dtype."""
    return functools.partial(reference.interd_loss, epsilon=interd_epsilon(dtype), **options)


def slope(loss: Any, scores: Tensor, *others: Tensor, **options: Any) -> Tensor:
    leaf = scores.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, *others, **options).sum(), leaf)[0]


@pytest.mark.parametrize("variant", ["soft", "hard", "zero"])
def test_imputed_form_is_the_observed_form_rated_by_the_student(variant: str, device: Device) -> None:
    s, b, d, _, w = rows(3000, device).values()
    known = torch.zeros_like(s) if variant == "zero" else s
    options = {"gamma": -1.25, "debiased_weight": w, "reduction": "none"}
    observed = {**options, "variant": "soft" if variant == "zero" else variant}
    assert torch.equal(interd_loss(s, b, d, variant=variant, **options), interd_loss(s, b, d, known, **observed))
    got = slope(interd_loss, s, b, d, variant=variant, **options)
    assert torch.equal(got, slope(interd_loss, s, b, d, known, **observed))


def test_imputed_form_with_a_detached_target(device: Device) -> None:
    tolerance = {torch.float64: 64, torch.float32: 32, torch.float16: 1, torch.bfloat16: 1}
    for dtype in device.floats:
        s, b, d, _, w = rows(300, device, dtype).values()
        wide = [t.double() for t in (s, b, d)]
        twin = of_dtype(dtype, gamma=-0.4)
        for reduction in ("mean", "sum", "none"):
            got = interd_loss(s, b, d, debiased_weight=w, gamma=-0.4, reduction=reduction)
            assert got.dtype == dtype
            assert_near(got, twin(*wide, debiased_weight=w.double(), reduction=reduction), tolerance[dtype])
        got = slope(interd_loss, s, b, d, debiased_weight=w, gamma=-0.4)
        assert_near(got, slope(twin, *wide, debiased_weight=w.double()), tolerance[dtype])


@pytest.mark.parametrize("detach", [True, False])
def test_second_derivative_keeps_the_detached_target_constant(detach: bool, device: Device) -> None:
    s, b, d, _, _ = rows(20, device).values()
    leaf = s.clone().requires_grad_()
    value = interd_loss(leaf, b, d, gamma=-0.7, detach_target=detach, reduction="sum")
    (first,) = torch.autograd.grad(value, leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    if detach:
        assert torch.equal(second, torch.full_like(second, 2.0))
        return
    step = 1e-6
    ends = [slope(interd_loss, s + h, b, d, gamma=-0.7, detach_target=False, reduction="sum") for h in (step, -step)]
    torch.testing.assert_close(second, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-6)


def test_gamma_zero_takes_the_mean_of_the_teachers(device: Device) -> None:
    s, b, d, r, w = rows(100, device).values()
    for known in (None, r):
        got = interd_loss(s, b, d, known, gamma=0.0, debiased_weight=w, reduction="none")
        assert_near(got, debias_ext.pointwise_loss(s, (b + d) / 2, reduction="none"), 16)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_hard_is_the_limit_of_large_gamma_and_picks_one_teacher(sign: float, device: Device) -> None:
    s, b, d, r, w = rows(1000, device).values()
    hard = interd_loss(s, b, d, r, debiased_weight=w, gamma=sign, variant="hard", reduction="none")
    assert_near(interd_loss(s, b, d, r, debiased_weight=w, gamma=1e9 * sign, reduction="none"), hard, 16)
    biased_is_chosen = ((b - r).square() > w * (d - r).square()) == (sign > 0)
    assert_near(hard, (s - torch.where(biased_is_chosen, b, d)).square(), 8)
    assert 0 < int(biased_is_chosen.sum()) < 1000


def test_hard_takes_the_mean_on_ties(device: Device) -> None:
    s, b, _, r, _ = rows(50, device).values()
    mirrored = torch.round(b * 64) / 64  # exact sums, so that the two errors are equal
    centre = torch.round(r * 64) / 64
    other = 2 * centre - mirrored
    for gamma in (-1.0, 1.0):
        got = interd_loss(s, mirrored, other, centre, gamma=gamma, variant="hard", reduction="none")
        assert_near(got, (s - centre).square(), 16)
    got = interd_loss(s, mirrored, b, r, gamma=0.0, variant="hard", reduction="none")
    assert_near(got, (s - (mirrored + b) / 2).square(), 16)


def test_the_weight_of_the_debiased_teacher_and_the_sign_of_gamma(device: Device) -> None:
    s, b, d, r, w = rows(200, device).values()
    swapped = interd_loss(s, d, b, r, gamma=-0.7, reduction="none")
    assert_near(interd_loss(s, b, d, r, gamma=-0.7, reduction="none"), swapped, 64)
    weighted = d.where(w < 0, r + w.sqrt() * (d - r))  # the teacher whose error is the weighted one
    target = reference_target(b, weighted, r, -0.7)
    got = interd_loss(s, b, d, r, debiased_weight=w, gamma=-0.7, reduction="none")
    assert_near(got, (s - target * b - (1 - target) * d).square(), 256)
    exact = interd_loss(s, b, d, r, debiased_weight=torch.zeros_like(w), gamma=-4.0, reduction="none")
    assert_near(exact, (s - d).square(), 64, scale=1.0)


def reference_target(biased: Tensor, debiased: Tensor, known: Tensor, gamma: float) -> Tensor:
    ratio = ((biased - known).square() + 1e-12) / ((debiased - known).square() + 1e-12)
    return 1 / (1 + ratio.pow(-gamma))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gamma", [-20.0, -0.7, 0.17, 3.0])
def test_coefficients_keep_their_digits(gamma: float, dtype: torch.dtype, simd_levels: list[str]) -> None:
    """Teachers 1 and 0, score 0: the slope is -2 w_b; teachers 0 and 1: the slope is -2 w_d."""
    known = torch.cat([torch.linspace(-3, 4, 4001), 2.0 ** torch.linspace(-30, 20, 501)]).to(dtype)
    one, zero = torch.ones_like(known), torch.zeros_like(known)
    exact = known.numpy().astype(np.longdouble)
    epsilon = np.longdouble(NUMPY[dtype](interd_epsilon(dtype)))
    logit = gamma * (np.log((1 - exact) ** 2 + epsilon) - np.log(exact**2 + epsilon))
    allowed = 4 * torch.finfo(dtype).eps * (2 + abs(gamma) + np.abs(logit))
    for level in simd_levels:
        _library.load().set_simd_level(level)
        options = {"gamma": gamma, "reduction": "none"}
        to_biased = slope(interd_loss, zero, one, zero, known, **options).numpy() / -2
        to_debiased = slope(interd_loss, zero, zero, one, one - known, **options).numpy() / -2
        floor = np.finfo(to_biased.dtype).tiny * 4
        # the mirrored rating 1 - known is rounded, where known is large or tiny: compare where it is exact
        same = (one - known).numpy().astype(np.longdouble) == 1 - exact
        for got, wanted, where in ((to_biased, logit, same | True), (to_debiased, -logit, same)):
            weight = 1 / (1 + np.exp(-wanted))
            assert np.all((np.abs(got - weight) <= allowed * weight + floor)[where])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("variant", ["soft", "hard", "zero"])
def test_saturated_scores_and_exact_teachers(variant: str, detach: bool, dtype: torch.dtype, device: Device) -> None:
    points = torch.tensor([-60.0, -1.0, -1e-20, 0.0, 1e-4, 1.0, 60.0], dtype=dtype, device=device.tensors)
    s, b, d = (grid.reshape(-1) for grid in torch.meshgrid(points, points, points, indexing="ij"))
    options = {"gamma": -1.25, "variant": variant, "detach_target": detach, "reduction": "none"}
    twin = of_dtype(dtype, **options)
    cases: list[tuple[Tensor, ...]] = [()] if variant == "zero" else [(), (d,), (torch.zeros_like(s),)]
    for known in cases:
        value = interd_loss(s, b, d, *known, **options)
        gradient = slope(interd_loss, s, b, d, *known, **options)
        wide = [tensor.double() for tensor in (s, b, d, *known)]
        tolerance = 3e-5 if dtype == torch.float32 else 1e-12
        rounding = 16 * 60 * torch.finfo(dtype).eps  # of a target between two teachers of the size of 60
        assert value.isfinite().all()
        assert gradient.isfinite().all()
        torch.testing.assert_close(value.double(), twin(*wide), rtol=tolerance, atol=rounding)
        wanted = slope(twin, *wide)
        slack = rounding if detach else {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
        torch.testing.assert_close(gradient.double(), wanted, rtol=tolerance, atol=slack)


@pytest.mark.parametrize("name", ["scores", "biased", "debiased", "ratings"])
@pytest.mark.parametrize("variant", ["soft", "hard"])
def test_nan_stays_in_its_row_and_reaches_the_reduced_loss(name: str, variant: str, device: Device) -> None:
    tensors = rows(40, device)
    tensors[name] = tensors[name].clone()
    tensors[name][11] = float("nan")
    s, *others, w = tensors.values()
    options = {"gamma": -0.7, "variant": variant, "debiased_weight": w}
    assert interd_loss(s, *others, **options, reduction="none").isnan().nonzero().flatten().tolist() == [11]
    assert slope(interd_loss, s, *others, **options, reduction="none").isnan().nonzero().flatten().tolist() == [11]
    assert interd_loss(s, *others, **options).isnan()


def test_only_the_scores_have_a_gradient(device: Device) -> None:
    tensors = {name: tensor.clone().requires_grad_() for name, tensor in rows(10, device).items()}
    value = interd_loss(**tensors, gamma=-0.7)
    gradients = torch.autograd.grad(value, list(tensors.values()), allow_unused=True, create_graph=True)
    assert [gradient is not None for gradient in gradients] == [True, False, False, False, False]
    second = torch.autograd.grad(gradients[0].sum(), list(tensors.values()), allow_unused=True)
    assert [gradient is not None for gradient in second] == [True, False, False, False, False]
    constant = interd_loss(**{**tensors, "scores": tensors["scores"].detach()}, gamma=-0.7)
    assert not constant.requires_grad


@pytest.mark.parametrize("bad", [-0.1, float("inf"), float("nan")])
def test_weight_outside_its_range(bad: float, device: Device) -> None:
    case = sample_inputs(SMALL_SPEC, 5000, dtype=torch.float32, device=device.tensors)
    weights = case.tensors["debiased_weight"].clone()
    weights[[2500, 4999]] = bad
    where = r"got \S+ at row 2500 \(2 such rows\)$" if device.name == "cpu" else "got other values$"
    assert_refused(case, "^debiased_weight must be finite and not negative, " + where, debiased_weight=weights)
    if device.name == "cpu":
        assert_refused(case, "^debiased_weight", debiased_weight=weights, validate=False)
    elif bad != bad:
        value = case.fused(debiased_weight=weights, validate=False, reduction="none")
        assert value.isnan().nonzero().flatten().tolist() == [2500, 4999]


OPTIONS = [
    ({"variant": "medium"}, "^variant must be 'soft', 'hard' or 'zero', got 'medium'"),
    ({"variant": "zero"}, "^variant must be 'soft' or 'hard' where ratings are given, got 'zero'"),
    ({"gamma": float("nan")}, "^gamma must be finite, got nan"),
    ({"gamma": float("-inf")}, "^gamma must be finite, got -inf"),
    ({"gamma": "steep"}, "^gamma must be a number, got str"),
    ({"gamma": None}, "^gamma must be a number, got NoneType"),
]


@pytest.mark.parametrize(("options", "match"), OPTIONS, ids=[str(options) for options, _ in OPTIONS])
def test_option(options: dict[str, Any], match: str, device: Device) -> None:
    assert_refused(sample_inputs(SMALL_SPEC, device=device.tensors), match, **options)


def test_epsilon_is_chosen_by_the_dtype(device: Device) -> None:
    for dtype, epsilon in ((torch.float32, 1e-8), (torch.float64, 1e-12)):
        _, b, d, _, _ = rows(50, device, dtype).values()
        near = b + 1e-5
        got = interd_loss(near, b, d, gamma=-0.3, reduction="none").double()
        wide = [tensor.double() for tensor in (near, b, d)]
        errors = [
            float((got - reference.interd_loss(*wide, gamma=-0.3, epsilon=e, reduction="none")).abs().max())
            for e in (epsilon, epsilon * 100)
        ]
        assert errors[0] < 1e-3 * errors[1]


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_the_operator_refuses_a_bad_epsilon(bad: float, device: Device) -> None:
    s, b, d, _, _ = rows(5, device).values()
    with pytest.raises(ValueError, match=r"^epsilon must be at least 1e-30 and finite"):
        torch.ops.debias_ext.interd_loss(s, b, d, None, None, -0.7, "soft", True, bad, "mean", True, 0)


def test_threads_and_forms_of_a_large_batch(one_and_two_threads: None) -> None:
    for spec in INTERD_SPECS[:9:2]:
        case = sample_inputs(spec, 50_001, dtype=torch.float32)
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value_and_gradients(*case.of_differentiable()))
        for one, *others in zip(*results, strict=True):
            assert all(torch.equal(one, other) for other in others)
