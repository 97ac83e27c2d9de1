"""lookahead_loss against the double backward of the same step."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from lookahead.cases import MODES, assert_equal_to_reference, gradients, sample


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_every_mode_equals_the_double_backward(mode: str, index: torch.dtype, device: Device) -> None:
    case = sample(**MODES[mode], index=index).map(lambda tensor: tensor.to(device.tensors))
    assert_equal_to_reference(case, 1e-9)


def test_the_expected_gradients_are_not_zero() -> None:
    for mode, options in MODES.items():
        case = sample(**options)
        for name, gradient in zip(case.names(), gradients(case.reference, case)[1:], strict=True):
            linear = options.get("lower_loss") == "mae" and name == ("lower", "targets")
            assert bool(gradient.any()) != linear, f"{mode}: {name}"
