"""Values and gradients against the plain-torch twin in float64, over every kind of kernel."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from ops.cases import LOSS_SPECS, SMALL, SPECS, Spec, assert_near, sample_inputs, value_and_gradients

ULPS = {torch.float64: 64, torch.float32: 32, torch.float16: 1, torch.bfloat16: 1}


def check(spec: Spec, n: int, dtype: torch.dtype, device: Device, scale: float = 0.0, **sizes: int) -> None:
    case = sample_inputs(spec, n, dtype=dtype, device=device.tensors, **sizes)
    actual = value_and_gradients(*case.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert got.dtype == dtype
        assert_near(got, wanted, ULPS[dtype], scale)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_value_and_gradients_are_those_of_the_reference(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    check(spec, 300, dtype, device)


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_storage_and_sums_are_float32_or_refused(spec: Spec, dtype: torch.dtype, device: Device) -> None:
    if dtype not in device.floats:
        with pytest.raises(ValueError, match=f"must be float32 or float64, got {str(dtype).removeprefix('torch.')}"):
            sample_inputs(spec, dtype=dtype, device=device.tensors).fused()
        return
    check(spec, 3000, dtype, device, users=40, items=50, factors=40)


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("n", [1, 2])
def test_few_rows(spec: Spec, n: int, device: Device) -> None:
    check(spec, n, torch.float64, device, scale=1.0)


@pytest.mark.parametrize("factors", [0, 1, 8, 10, 15, 16, 17, 32, 33, 64])
def test_scores_for_any_number_of_factors(factors: int, device: Device) -> None:
    check(SMALL[-1], 100, torch.float64, device, factors=factors)


@pytest.mark.parametrize("users", [1, 3, 5000])
def test_scores_for_small_and_large_tables(users: int, device: Device) -> None:
    check(SMALL[-1], 64, torch.float32, device, users=users, items=2)


@pytest.mark.parametrize("spec", [s for s in LOSS_SPECS if dict(s.options)["loss"] == "bce"], ids=str)
def test_losses_of_several_dimensions_and_of_none(spec: Spec, device: Device) -> None:
    for shape in ((2, 3, 2), ()):
        flat = sample_inputs(spec, 12 if shape else 1, device=device.tensors)
        case = flat.map(lambda tensor, shape=shape: tensor.reshape(shape))
        value = case.fused()
        assert value.shape == (shape if dict(spec.options).get("reduction") == "none" else ())
        assert_near(value.reshape(-1), flat.reference().reshape(-1), 64)
