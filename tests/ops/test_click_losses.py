"""Losses of clicks and exposures: 0/1 clicks, saturated scores, the ends of the exposure, bad values, known limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.cases import CLICK_SPECS, Case, Spec, assert_near, sample_inputs, value_and_gradients
from torch import Tensor

import debias_ext
from debias_ext import _library, reference

DTYPES = [torch.float32, torch.float64]
EXPOSURE_SPECS = [spec for spec in CLICK_SPECS if spec.op == "exposure_loss"]
SCORES = (-60.0, -20.5, -3.0, -1e-30, 0.0, 1e-30, 0.7, 17.0, 45.0, 60.0)
EXPOSURES = (0.0, 1e-20, 1e-6, 0.01, 0.3, 0.999, 1 - 2.0**-24, 1.0)


def with_binary_clicks(case: Case) -> Case:
    return Case(case.spec, {**case.tensors, "clicks": (case.tensors["clicks"] < 0.3).to(case.tensors["clicks"])})


def grid(first: tuple[float, ...], second: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    pairs = torch.cartesian_prod(torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64))
    a, b = pairs.to(dtype).unbind(1)
    return a.contiguous(), b.contiguous()


def rows_and_slopes(call: Callable[..., Tensor], *leaves: Tensor) -> list[np.ndarray]:
    leaves = tuple(leaf.clone().requires_grad_() for leaf in leaves)
    rows = call(*leaves)
    return [t.detach().cpu().numpy().astype(np.longdouble) for t in (rows, *torch.autograd.grad(rows.sum(), leaves))]


def assert_digits(got: list[np.ndarray], wanted: list[np.ndarray], dtype: torch.dtype) -> None:
    unit = 6 * torch.finfo(dtype).eps
    tiny = torch.finfo(dtype).smallest_normal / torch.finfo(dtype).eps
    for actual, exact in zip(got, wanted, strict=True):
        assert (np.abs(actual - exact) <= unit * np.maximum(np.abs(exact), tiny)).all()


def exact_rows(s: np.ndarray, x: np.ndarray, unexposed: np.ndarray, log_x: np.ndarray, slope: Any, click: int) -> Any:
    """Value and slopes in extended precision; `slope` is that of the exposure x in its source."""
    e = np.exp(-np.abs(s))
    p, q = np.where(s > 0, 1, e) / (1 + e), np.where(s > 0, e, 1) / (1 + e)
    if click:
        return [np.maximum(-s, 0) + np.log1p(e) - log_x, -q, -slope / x]
    joint, left = x * p, unexposed + x * q
    value = np.where(joint < 0.5, -np.log1p(-np.minimum(joint, 0.5)), -np.log(left))
    return [value, joint * q / left, slope * p / left]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("click", [0, 1])
def test_all_digits_over_saturated_scores_and_every_exposure(click: int, dtype: torch.dtype, device: Device) -> None:
    s, x = grid(SCORES, EXPOSURES[click:], dtype)
    clicks = torch.full_like(s, click)
    got = rows_and_slopes(
        lambda s, x: debias_ext.exposure_loss(s, clicks.to(device.tensors), x, reduction="none"),
        s.to(device.tensors),
        x.to(device.tensors),
    )
    wide_s, wide_x = (t.numpy().astype(np.longdouble) for t in (s, x))
    log_x = np.log(np.where(wide_x == 0, 1, wide_x))
    assert_digits(got, exact_rows(wide_s, wide_x, 1 - wide_x, log_x, 1, click), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("click", [0, 1])
def test_all_digits_over_saturated_scores_and_logits(click: int, dtype: torch.dtype, device: Device) -> None:
    s, t = grid(SCORES, SCORES, dtype)
    clicks = torch.full_like(s, click)
    got = rows_and_slopes(
        lambda s, t: debias_ext.exposure_loss(s, clicks.to(device.tensors), exposure_logits=t, reduction="none"),
        s.to(device.tensors),
        t.to(device.tensors),
    )
    wide_s, wide_t = (v.numpy().astype(np.longdouble) for v in (s, t))
    f = np.exp(-np.abs(wide_t))
    x, unexposed = np.where(wide_t > 0, 1, f) / (1 + f), np.where(wide_t > 0, f, 1) / (1 + f)
    log_x = np.minimum(wide_t, 0) - np.log1p(f)
    assert_digits(got, exact_rows(wide_s, x, unexposed, log_x, x * unexposed, click), dtype)


@pytest.mark.parametrize("score", [-1e30, -1000.0, -90.0, 90.0, 1000.0, 1e30])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scores_far_beyond_saturation_stay_finite(score: float, dtype: torch.dtype, device: Device) -> None:
    s = torch.full((4,), score, dtype=dtype, device=device.tensors)
    clicks = torch.tensor([0, 1, 0, 1], dtype=dtype, device=device.tensors)
    x = torch.tensor([1, 1, 0.5, 0.5], dtype=dtype, device=device.tensors)
    high = max(score, 0.0)
    for argument in ({"exposures": x}, {"exposure_logits": torch.tensor([1e30, 1e30, 0, 0]).to(x)}):
        rows = debias_ext.exposure_loss(s, clicks, **argument, reduction="none")
        wanted = torch.tensor([high, high - score, np.log(2) if score > 0 else 0, high - score + np.log(2)]).to(rows)
        torch.testing.assert_close(rows, wanted, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("spec", CLICK_SPECS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("one", [True, False])
def test_binary_clicks_agree_with_the_reference(spec: Spec, dtype: torch.dtype, one: bool, device: Device) -> None:
    """Where the slope in the clicks is not asked for, 0/1 clicks have a loop of their own."""
    case = with_binary_clicks(sample_inputs(spec, 300, dtype=dtype, device=device.tensors))
    names = ("scores", spec.tensors[2])[: 1 if one else 2]
    leaves = tuple(case.leaves()[name] for name in names)
    actual = value_and_gradients(lambda *v: case.fused(**dict(zip(names, v, strict=True))), leaves)
    exact = case.double()
    expected = value_and_gradients(
        lambda *v: exact.reference(**dict(zip(names, v, strict=True))), tuple(exact.leaves()[name] for name in names)
    )
    for got, wanted in zip(actual, expected, strict=True):
        assert_near(got, wanted, {torch.float32: 32, torch.float64: 64}[dtype])


@pytest.mark.parametrize("spec", EXPOSURE_SPECS[:2], ids=str)
def test_blocks_with_and_without_soft_clicks_give_the_same_rows(spec: Spec) -> None:
    case = with_binary_clicks(sample_inputs(spec, 6000, dtype=torch.float32))
    mixed = case.tensors["clicks"].clone()
    mixed[[10, 5000]] = 0.5
    rows = case.fused(reduction="none")
    others = torch.ones(6000, dtype=torch.bool)
    others[[10, 5000]] = False
    assert_near(case.fused(reduction="none", clicks=mixed)[others], rows[others], 4)


@pytest.mark.parametrize("spec", EXPOSURE_SPECS[:2], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_thread_count_and_simd_level_with_binary_clicks(
    spec: Spec, dtype: torch.dtype, one_and_two_threads: None, simd_levels: list[str]
) -> None:
    case = with_binary_clicks(sample_inputs(spec, 100_001, dtype=dtype))
    leaves = (case.leaves()["scores"],)
    by_level = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        by_threads = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            by_threads.append(value_and_gradients(lambda s: case.fused(scores=s), leaves))
        for other in by_threads[1:]:
            assert all(torch.equal(a, b) for a, b in zip(by_threads[0], other, strict=True))
        by_level.append(by_threads[0])
    for other in by_level[1:]:
        for a, b in zip(by_level[0], other, strict=True):
            assert_near(b, a, 32)


def test_full_exposure_makes_it_the_cross_entropy(device: Device) -> None:
    case = sample_inputs(EXPOSURE_SPECS[0], 500, device=device.tensors)
    s, clicks = case.tensors["scores"], case.tensors["clicks"]
    wanted = F.binary_cross_entropy_with_logits(s, clicks)
    assert_near(debias_ext.exposure_loss(s, clicks, torch.ones_like(s)), wanted, 64)
    assert_near(debias_ext.exposure_loss(s, clicks, exposure_logits=torch.full_like(s, 800.0)), wanted, 64)
    assert_near(debias_ext.relmf_loss(s, clicks, torch.ones_like(s), form="log"), wanted, 64)


def test_logits_and_their_exposures_agree(device: Device) -> None:
    case = sample_inputs(EXPOSURE_SPECS[1], 500, device=device.tensors)
    s, clicks, t = (case.leaves()[name] for name in case.spec.tensors)
    by_logits = value_and_gradients(lambda s, t: debias_ext.exposure_loss(s, clicks, exposure_logits=t), (s, t))
    given_x = value_and_gradients(lambda s, t: debias_ext.exposure_loss(s, clicks, torch.sigmoid(t)), (s, t))
    for a, b in zip(by_logits, given_x, strict=True):
        assert_near(a, b, 128)


def test_relmf_is_unbiased_where_the_exposures_are_right(device: Device) -> None:
    generator = torch.Generator().manual_seed(5)
    n = 200_000
    s, x, relevant = (torch.rand(n, generator=generator, dtype=torch.float64).to(device.tensors) for _ in range(3))
    x = 0.2 + 0.8 * x
    relevance = (relevant < 0.4).double()
    clicks = relevance * (torch.rand(n, generator=generator, dtype=torch.float64).to(device.tensors) < x)
    for form, truth in (
        ("square", debias_ext.pointwise_loss(torch.sigmoid(s), relevance)),
        ("log", debias_ext.pointwise_loss(s, relevance, loss="bce")),
    ):
        assert abs(float(debias_ext.relmf_loss(s, clicks, x, form=form)) - float(truth)) < 0.005
        biased = debias_ext.relmf_loss(s, clicks, torch.ones_like(x), form=form)
        assert abs(float(biased) - float(truth)) > 0.02


@pytest.mark.parametrize("form", ["square", "log"])
def test_clipped_exposures_count_as_the_bound_and_have_no_gradient(form: str, device: Device) -> None:
    s = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([0.0, 1e-9, 0.2499, 0.25, 1.0], dtype=torch.float64)
    s, x = s.to(device.tensors), x.to(device.tensors).requires_grad_()
    clicks = torch.ones_like(s)
    loss = debias_ext.relmf_loss(s, clicks, x, form=form, clip_min=0.25)
    assert_near(loss.detach(), reference.relmf_loss(s, clicks, x.detach().clamp(min=0.25), form=form), 32)
    (gradient,) = torch.autograd.grad(loss, x)
    assert not gradient[:3].any()
    assert gradient[3:].all()


def test_a_click_with_exposure_zero_is_refused_and_no_click_is_not(device: Device) -> None:
    s = torch.zeros(3000, device=device.tensors)
    x = torch.full_like(s, 0.5)
    clicks = torch.zeros_like(s)
    x[[7, 2500, 2900]] = 0.0
    assert debias_ext.exposure_loss(s, clicks, x).isfinite()
    clicks[[2500, 2900]] = 1.0
    where = r"got 0 at row 2500 \(2 such rows\)$" if device.name == "cpu" else "got other values$"
    with pytest.raises(
        ValueError,
        match=r"^exposures must be in \[0, 1\], and at least 1e-28 \(float64: 1e-288\) where there is a click, "
        + where,
    ):
        debias_ext.exposure_loss(s, clicks, x)
    clicks[9] = 0.5  # soft clicks take another loop
    with pytest.raises(ValueError, match=r"^exposures must be in \[0, 1\], and at least 1e-28"):
        debias_ext.exposure_loss(s, clicks, x)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1e-28), (torch.float64, 1e-288)], ids=str)
@pytest.mark.parametrize("soft", [False, True])
def test_clicks_at_the_least_exposure_are_exact_and_below_it_refused(
    dtype: torch.dtype, least: float, soft: bool, device: Device
) -> None:
    s = torch.tensor([-60.0, -1.0, 0.0, 1.0, 60.0], dtype=dtype, device=device.tensors).requires_grad_()
    clicks = torch.full_like(s, 0.5 if soft else 1.0, requires_grad=False)
    x = torch.full_like(s, least * (1 + 1e-6), requires_grad=True)
    value = debias_ext.exposure_loss(s, clicks, x, reduction="none")
    gradients = torch.autograd.grad(value.sum(), (s, x))
    wide = [t.detach().double().requires_grad_() for t in (s, x)]
    wanted = reference.exposure_loss(wide[0], clicks.double(), wide[1], reduction="none")
    for got, expected in zip((value, *gradients), (wanted, *torch.autograd.grad(wanted.sum(), wide)), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-30)
    for below in (least / 100, 0.0):
        with pytest.raises(
            ValueError,
            match=r"^exposures must be in \[0, 1\], and at least 1e-28 \(float64: 1e-288\) where there is a click",
        ):
            debias_ext.exposure_loss(s, clicks, torch.full_like(s, below))
        assert debias_ext.exposure_loss(s, torch.zeros_like(s), torch.full_like(s, below)).isfinite()


@pytest.mark.parametrize("spec", CLICK_SPECS[:6], ids=str)
@pytest.mark.parametrize("bad", [-0.1, 1.0000001, float("inf"), float("nan")])
@pytest.mark.parametrize("soft", [True, False])
def test_values_outside_their_range(spec: Spec, bad: float, soft: bool, device: Device) -> None:
    case = sample_inputs(spec, 5000, dtype=torch.float32, device=device.tensors)
    case = case if soft else with_binary_clicks(case)
    for name in ("clicks", "exposures"):
        if name not in spec.tensors:
            continue
        values = case.tensors[name].clone()
        values[[2500, 4999]] = bad
        where = r"got \S+ at row 2500 \(2 such rows\)$" if device.name == "cpu" else "got other values$"
        with pytest.raises(ValueError, match=rf"^{name} must be in [\[(]0, 1\].*" + where):
            case.fused(**{name: values})
    if "exposure_logits" in spec.tensors:
        logits = case.tensors["exposure_logits"].clone()
        logits[4] = float("nan")
        with pytest.raises(ValueError, match=r"^exposure_logits must not be NaN, got"):
            case.fused(exposure_logits=logits)


@pytest.mark.parametrize("click", [0.0, 1.0])
def test_infinite_scores_and_exposure_logits_give_the_limit(click: float, device: Device) -> None:
    """softplus(-s) + softplus(-t) with a click, -log(1 - sigmoid(s) sigmoid(t)) without."""
    values = [-torch.inf, 0.5, torch.inf]
    s, t = (grid.flatten() for grid in torch.meshgrid(torch.tensor(values), torch.tensor(values), indexing="ij"))
    softplus = torch.nn.functional.softplus
    expected = softplus(-s) + softplus(-t) if click else -torch.log1p(-torch.sigmoid(s) * torch.sigmoid(t))
    for dtype in device.floats[:2]:
        scores, logits = (x.to(device.tensors, dtype).requires_grad_() for x in (s, t))
        clicks = torch.full_like(scores, click, requires_grad=False)
        loss = debias_ext.exposure_loss(scores, clicks, exposure_logits=logits, reduction="none")
        torch.testing.assert_close(loss.detach().cpu().float(), expected)
        gradients = torch.autograd.grad(loss.sum(), (scores, logits))
        assert all(bool((g.isfinite() & (g.abs() <= 1)).all()) for g in gradients)


def test_relmf_without_clipping_refuses_exposure_zero(device: Device) -> None:
    ones = torch.ones(4, device=device.tensors)
    with pytest.raises(ValueError, match=r"^exposures must be in \(0, 1\], got"):
        debias_ext.relmf_loss(ones, ones, ones * 0)
    for bad in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"^clip_min must be in \(0, 1\]"):
            debias_ext.relmf_loss(ones, ones, ones, clip_min=bad)
    with pytest.raises(ValueError, match=r"^form must be 'square' or 'log', got 'cubic'"):
        debias_ext.relmf_loss(ones, ones, ones, form="cubic")


def test_values_are_not_checked_on_cuda_when_the_caller_says_so(device: Device) -> None:
    ones = torch.ones(4, device=device.tensors)
    if device.name == "cpu":
        with pytest.raises(ValueError, match=r"^clicks must be in"):
            debias_ext.exposure_loss(ones, 2 * ones, ones, validate=False)
    else:
        assert debias_ext.exposure_loss(ones, 2 * ones, ones, validate=False).shape == ()


@pytest.mark.parametrize("spec", [s for s in CLICK_SPECS if ("reduction", "none") in s.options], ids=str)
@pytest.mark.parametrize("soft", [True, False])
def test_a_nan_score_stays_in_its_row_and_reaches_the_reduced_loss(spec: Spec, soft: bool, device: Device) -> None:
    case = sample_inputs(spec, 40, device=device.tensors)
    case = case if soft else with_binary_clicks(case)
    scores = case.tensors["scores"].clone()
    scores[11] = float("nan")
    leaf = scores.requires_grad_()
    rows = case.fused(scores=leaf)
    assert rows.isnan().nonzero().flatten().tolist() == [11]
    assert torch.autograd.grad(rows.sum(), leaf)[0].isnan().nonzero().flatten().tolist() == [11]
    assert case.fused(scores=leaf, reduction="mean").isnan()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=40), st.floats(0, 1, width=32), st.booleans())
def test_any_score_and_exposure(scores: list[float], exposure: float, click: bool) -> None:
    s = torch.tensor(scores, dtype=torch.float32)
    x, clicks = torch.full_like(s, exposure), torch.full_like(s, click)
    if click and exposure < 1e-28:
        with pytest.raises(ValueError, match="where there is a click, got"):
            debias_ext.exposure_loss(s, clicks, x)
        return
    got = debias_ext.exposure_loss(s, clicks, x, reduction="none")
    wanted = reference.exposure_loss(s.double(), clicks.double(), x.double(), reduction="none")
    torch.testing.assert_close(got.double(), wanted, rtol=6e-7, atol=1e-31)
