"""attention_pooling says which argument is wrong, what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention.cases import problem
from conftest import Device
from torch import Tensor

from debias_ext import attention_pooling

# queries, keys, two layers' weights and biases in turn, the last layer's, two alphas
TENSORS: list[tuple[int, Callable[[Tensor], Any], str]] = [
    (0, lambda t: t[0], r"queries must have 2 dimension\(s\), got shape \[3\]"),
    (0, lambda t: t[:4], r"keys must have shape \[4, T, 3\], got \[5, 7, 3\]"),
    (1, lambda t: t[0], r"keys must have 3 dimension\(s\), got shape \[7, 3\]"),
    (1, lambda t: t[..., :2], r"keys must have shape \[5, T, 3\], got \[5, 7, 2\]"),
    (2, lambda t: t[:, 1:], r"weight of layers\[0\] must have shape \[6, 12\], got \[6, 11\]"),
    (3, lambda t: t[1:], r"bias of layers\[0\] must have shape \[6\], got \[5\]"),
    (4, lambda t: t.T, r"weight of layers\[1\] must have shape \[6, 6\], got \[6, 4\]"),
    (6, lambda t: torch.cat([t, t]), r"weight of layers\[2\] must have shape \[1, 4\], got \[2, 4\]"),
    (8, lambda t: t[1:], r"alphas\[0\] must have shape \[6\], got \[5\]"),
    (0, lambda t: t.long(), r"weight of layers\[0\] must have the dtype of queries, int64, got float64"),
    (1, lambda t: t.float(), r"keys must have the dtype of queries, float64, got float32"),
    (5, lambda t: t.float(), r"bias of layers\[1\] must have the dtype of queries, float64, got float32"),
    (9, lambda t: t.float(), r"alphas\[1\] must have the dtype of queries, float64, got float32"),
    (0, lambda t: t.cpu().numpy(), r"queries must be a torch.Tensor, got ndarray"),
    (2, lambda t: 1.0, r"weight of layers\[0\] must be a torch.Tensor, got float"),
    (1, lambda t: t.to("meta"), r"keys must be on the device of queries, (cpu|cuda.*), got meta"),
]


@pytest.mark.parametrize(("position", "change", "message"), TENSORS, ids=[message for *_, message in TENSORS])
def test_a_bad_tensor_is_named(position: int, change: Callable[[Tensor], Any], message: str, device: Device) -> None:
    case = problem(device=device.tensors)
    tensors = list(case.tensors)
    tensors[position] = change(tensors[position])
    with pytest.raises(ValueError, match=message):
        case.call(attention_pooling, *tensors)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"activation": "gelu"}, "activation must be one of 'dice', 'relu', 'sigmoid', got 'gelu'"),
    ({"activation": "relu"}, "alphas must have length 0 for activation='relu', got 2"),
    ({"alphas": []}, "alphas must have length 2 for activation='dice', got 0"),
    ({"layers": []}, r"layers must be 2 to 8 pairs \(weight, bias\), got 0"),
    ({"layers": 3}, r"layers must be 2 to 8 pairs \(weight, bias\), got int"),
    ({"layers": [1, 2, 3]}, r"layers\[0\] must be a pair of tensors, got int"),
    ({"statistics": [(torch.zeros(6), torch.ones(6))]}, "statistics must have length 2 for activation='dice', got 1"),
    ({"statistics": [(torch.zeros(6),), None]}, r"statistics\[0\] must be a pair of tensors, got tuple"),
    (
        {"statistics": [(torch.zeros(6), torch.ones(5)), None]},
        r"variance of statistics\[0\] must have shape \[6\], got \[5\]",
    ),
    ({"epsilon": 0.0}, "epsilon must be positive and finite, got 0"),
    ({"epsilon": "small"}, "epsilon must be a number, got str"),
    ({"lengths": torch.zeros(5)}, "lengths must be int32 or int64, got float32"),
    ({"lengths": torch.zeros(4).long()}, r"lengths must have shape \[5\], got \[4\]"),
    ({"lengths": [1, 2]}, "lengths must be a torch.Tensor, got list"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[message for _, message in OPTIONS])
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem().call(attention_pooling, **options)


def test_statistics_are_for_dice_alone() -> None:
    with pytest.raises(ValueError, match="statistics is of use with activation='dice' only, got activation='relu'"):
        problem(activation="relu").call(attention_pooling, statistics=[(torch.zeros(6), torch.ones(6))] * 2)


def test_half_on_the_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="queries must be float32 or float64, got float16"):
        problem(dtype=torch.float16).call(attention_pooling)


@pytest.mark.parametrize("value", [-1, 8, 2**31 - 1])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_a_length_out_of_range(value: int, dtype: torch.dtype, device: Device) -> None:
    case = problem(index=dtype, device=device.tensors)
    case.lengths[3] = value
    with pytest.raises(IndexError, match=r"lengths must be in \[0, 8\), got .* at position 3"):
        case.call(attention_pooling)


def test_unchecked_lengths_are_clamped(device: Device) -> None:
    case = problem(activation="relu", device=device.tensors)
    case.lengths[:2] = torch.tensor([-4, 2**40], device=device.tensors)
    if device.name == "cpu":
        with pytest.raises(IndexError, match=r"lengths must be in \[0, 8\), got -4 at position 0"):
            case.call(attention_pooling, validate=False)
        return
    value = case.call(attention_pooling, validate=False)
    assert torch.equal(value, case.call(attention_pooling, lengths=case.lengths.clamp(0, 7)))
