"""Accuracy of the elementary functions of csrc/common/math.h, seen through the losses that use them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Device
from torch import Tensor

import debias_ext
from debias_ext import _library

DTYPES = [torch.float32, torch.float64]
EXP_ULPS, LOGISTIC_ULPS = 2.0, 3.0  # as csrc/common/math.h promises


def grid(dtype: torch.dtype, low: float, high: float) -> Tensor:
    """Even steps, and powers of two towards zero."""
    even = torch.linspace(low, high, 100_003, dtype=torch.float64)
    small = 2.0 ** torch.linspace(-60, 5, 1301, dtype=torch.float64)
    points = torch.cat([even, small, -small, torch.zeros(1, dtype=torch.float64)])
    return points[(points >= low) & (points <= high)].to(dtype)


def error_in_ulps(actual: Tensor, exact: np.ndarray) -> float:
    """Against an extended-precision value, in units of the last place of the actual dtype at that value."""
    kind = np.float32 if actual.dtype == torch.float32 else np.float64
    spacing = np.spacing(np.abs(exact).astype(kind)).astype(np.longdouble)
    return float(np.max(np.abs(actual.cpu().numpy().astype(np.longdouble) - exact) / spacing))


def extended(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.longdouble)


def logistic(scores: Tensor) -> tuple[Tensor, Tensor]:
    """softplus and sigmoid: the cross-entropy to target 0, and its slope."""
    leaf = scores.clone().requires_grad_()
    value = debias_ext.pointwise_loss(leaf, torch.zeros_like(scores), loss="bce", reduction="none")
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def exponential(values: Tensor) -> Tensor:
    """exp(x): the negative slope of 1 / sigmoid(-x)."""
    leaf = (-values).requires_grad_()
    one, zero = torch.ones_like(values), torch.zeros_like(values)
    loss = debias_ext.ips_loss(one, zero, propensity_logits=leaf, reduction="sum")
    return -torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_softplus_and_sigmoid(dtype: torch.dtype, device: Device) -> None:
    scores = grid(dtype, -80.0, 80.0).to(device.tensors)
    softplus, sigmoid = logistic(scores)
    exact = extended(scores)
    e = np.exp(-np.abs(exact))
    assert error_in_ulps(softplus, np.maximum(exact, 0) + np.log1p(e)) <= LOGISTIC_ULPS
    assert error_in_ulps(sigmoid, np.where(exact < 0, e, 1) / (1 + e)) <= LOGISTIC_ULPS


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp(dtype: torch.dtype, device: Device) -> None:
    high = 86.9 if dtype == torch.float32 else 707.0
    values = grid(dtype, -high, high).to(device.tensors)
    assert error_in_ulps(exponential(values), np.exp(extended(values))) <= EXP_ULPS


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp_at_every_simd_level(dtype: torch.dtype, simd_levels: list[str]) -> None:
    values = grid(dtype, -86.9, 86.9)
    for level in simd_levels:
        _library.load().set_simd_level(level)
        assert error_in_ulps(exponential(values), np.exp(extended(values))) <= EXP_ULPS
        assert error_in_ulps(logistic(values)[0], np.logaddexp(0, extended(values))) <= LOGISTIC_ULPS


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp_underflows_to_zero(dtype: torch.dtype, device: Device) -> None:
    values = torch.tensor([-110.0, -1000.0, -float("inf")], dtype=dtype, device=device.tensors)
    if dtype == torch.float64:
        values[0] = -800.0
    assert not exponential(values).any()
