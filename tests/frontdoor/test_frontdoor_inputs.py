"""frontdoor_aggregate says which argument is wrong, what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Device
from frontdoor.cases import problem
from torch import Tensor, nn

from debias_ext import frontdoor_aggregate

SHAPES: list[tuple[int, Callable[[Tensor], Any], str]] = [
    (0, lambda t: t[0], r"context must have 2 dimension\(s\), got shape \[4\]"),
    (0, lambda t: t[:, :3], r"mediators must have as many columns as context, 3, got shape \[5, 3, 4\]"),
    (1, lambda t: t[0], r"mediators must have 3 dimension\(s\), got shape \[3, 4\]"),
    (2, lambda t: t[:4], r"attention must have shape \[5, 3\], got \[4, 3\]"),
    (3, lambda t: t[:3], r"weight of head must have shape \[4\], got \[3\]"),
    (3, lambda t: t[None], r"weight of head must have shape \[4\], got \[1, 4\]"),
    (4, lambda t: t[0], r"bias of head must have shape \[1\], got \[\]"),
    (0, lambda t: t.long(), r"context must be float32.* got int64"),
    (1, lambda t: t.float(), r"mediators must have the dtype of context, float64, got float32"),
    (2, lambda t: t.float(), r"attention must have the dtype of context, float64, got float32"),
    (3, lambda t: t.float(), r"weight of head must have the dtype of context, float64, got float32"),
    (4, lambda t: t.float(), r"bias of head must have the dtype of context, float64, got float32"),
    (0, lambda t: t.cpu().numpy(), r"context must be a torch.Tensor, got ndarray"),
    (3, lambda t: 1.0, r"weight of head must be a torch.Tensor, got float"),
    (1, lambda t: t.to("meta"), r"mediators must be on the device of context, (cpu|cuda.*), got meta"),
]


@pytest.mark.parametrize(("position", "change", "message"), SHAPES, ids=[message for *_, message in SHAPES])
def test_a_bad_tensor_is_named(position: int, change: Callable[[Tensor], Any], message: str, device: Device) -> None:
    case = problem(device=device.tensors)
    tensors = list(case.tensors)
    tensors[position] = change(tensors[position])
    with pytest.raises(ValueError, match=message):
        case.call(frontdoor_aggregate, *tensors)


def test_logits_are_named_as_such() -> None:
    case = problem(logits=True)
    with pytest.raises(ValueError, match=r"attention_logits must have shape \[5, 3\], got \[5, 2\]"):
        case.call(frontdoor_aggregate, *case.tensors[:2], case.tensors[2][:, :2], *case.tensors[3:])


def test_half_on_the_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="context must be float32 or float64, got float16"):
        problem(dtype=torch.float16).call(frontdoor_aggregate)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"attention_logits": torch.zeros(5, 3)}, "exactly one of attention and attention_logits, got both"),
    ({"activation": "gelu"}, "activation must be 'relu' for a pair as head, got 'gelu'"),
    ({"activation": "identity"}, "activation must be 'relu' for a pair as head, got 'identity'"),
    ({"exclude_self": True}, r"one row for each of the 5 samples when exclude_self is True .* got shape \[7, 4\]"),
    ({"context_index": torch.zeros(7).long()}, "context_index is of use with exclude_self=True only"),
    ({"exclude_self": True, "context_index": torch.zeros(7)}, "context_index must be int32 or int64, got float32"),
    ({"exclude_self": True, "context_index": torch.zeros(6).long()}, r"context_index must have shape \[7\], got \[6\]"),
    ({"exclude_self": True, "context_index": np.zeros(7)}, "context_index must be a torch.Tensor, got ndarray"),
    (
        {"exclude_self": True, "context_index": torch.zeros(7, device="meta").long()},
        "context_index must be on the device of context, (cpu|cuda.*), got meta",
    ),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[message for _, message in OPTIONS])
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem().call(frontdoor_aggregate, **options)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (3, "head must be a pair .* got int"),
        ((torch.zeros(4),), "head must be a pair .* got 1 values"),
        (nn.Linear(4, 2).double(), r"head must map \[5, 3, 7, 4\] to \[5, 3, 7\], .* got \[5, 3, 7, 2\]"),
    ],
)
def test_a_bad_head_is_named(head: Any, message: str) -> None:
    context, mediators, attention, *_ = problem().tensors
    with pytest.raises(ValueError, match=message):
        frontdoor_aggregate(context, mediators, attention, head)


def test_neither_attention_nor_logits() -> None:
    context, mediators, _, weight, bias = problem().tensors
    with pytest.raises(ValueError, match="exactly one of attention and attention_logits, got neither"):
        frontdoor_aggregate(context, mediators, None, (weight, bias))


@pytest.mark.parametrize("value", [-1, 5, 2**31 - 1])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("head", ["pair", "callable"])
def test_a_context_index_out_of_range(value: int, dtype: torch.dtype, head: str, device: Device) -> None:
    case = problem(exclude="index", index=dtype, device=device.tensors)
    case.options["context_index"][3] = value
    context, mediators, attention, weight, bias = case.tensors
    with pytest.raises(IndexError, match=r"context_index must be in \[0, 5\), got .* at position 3"):
        frontdoor_aggregate(
            context,
            mediators,
            attention,
            (weight, bias) if head == "pair" else lambda x: x @ weight + bias,
            **case.options,
        )
