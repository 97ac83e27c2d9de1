"""What mf_topk refuses by name, and what it does with indices that nobody checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Device
from topk.problems import expected, topk, whole_numbers
from torch import Tensor

from debias_ext import mf_topk

K = 4
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"user_factors": [[1.0]]}, ValueError, "user_factors must be a torch.Tensor, got list"),
    ({"user_factors": torch.zeros(40)}, ValueError, r"user_factors must have 2 dimension\(s\), got shape \[40\]"),
    ({"user_factors": torch.zeros(40, 5).int()}, ValueError, "user_factors must be float32.*, got int32"),
    ({"item_factors": torch.zeros(150)}, ValueError, r"item_factors must have 2 dimension\(s\), got shape \[150\]"),
    (
        {"item_factors": torch.zeros(150, 4)},
        ValueError,
        "item_factors must have as many columns as user_factors, 5, got 4",
    ),
    ({"item_factors": torch.zeros(150, 5).double()}, ValueError, "item_factors must have the dtype of user_factors"),
    ({"item_factors": torch.zeros(150, 5, device="meta")}, ValueError, "item_factors must be on the device of"),
    ({"users": torch.zeros(3)}, ValueError, "users must be int32 or int64, got float32"),
    ({"users": torch.zeros(3, 1).long()}, ValueError, r"users must have 1 dimension\(s\), got shape \[3, 1\]"),
    ({"users": torch.tensor([0, 40])}, IndexError, r"users must be in \[0, 40\), got .* at position 1"),
    ({"users": torch.tensor([-1, 0])}, IndexError, r"users must be in \[0, 40\), got .* at position 0"),
    ({"k": 0}, ValueError, "k must be at least 1, got 0"),
    ({"k": 2.0}, ValueError, r"k must be an integer, got 2\.0"),
    ({"k": True}, ValueError, "k must be an integer, got True"),
    ({"user_bias": torch.zeros(41)}, ValueError, r"user_bias must have shape \[40\], got \[41\]"),
    ({"item_bias": torch.zeros(150, 1)}, ValueError, r"item_bias must have shape \[150\], got \[150, 1\]"),
    ({"item_bias": torch.zeros(150).double()}, ValueError, "item_bias must have the dtype of user_factors, float32"),
    ({"seen": torch.zeros(3)}, ValueError, r"seen must be a pair \(offsets, items\), got Tensor"),
    (
        {"seen": (torch.zeros(41).long(), None)},
        ValueError,
        r"seen must be a pair of torch.Tensor, got \(Tensor, NoneType\)",
    ),
    (
        {"seen": (torch.zeros(40).long(), torch.zeros(0).long())},
        ValueError,
        r"seen offsets must have shape \[41\], got \[40\]",
    ),
    (
        {"seen": (torch.zeros(41), torch.zeros(0).long())},
        ValueError,
        "seen offsets must be int32 or int64, got float32",
    ),
    ({"seen": (torch.zeros(41).long(), torch.zeros(0))}, ValueError, "seen items must be int32 or int64, got float32"),
    (
        {"seen": (torch.zeros(41).long(), torch.zeros(0, 1).long())},
        ValueError,
        r"seen items must have 1 dimension\(s\)",
    ),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[message[:36] for *_, message in BAD])
def test_a_bad_argument_is_named(change: dict, kind: type[Exception], message: str, device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)
    arguments = {**problem.tables, "users": problem.users, "k": K, "seen": problem.seen} | change
    with pytest.raises(kind, match=message):
        mf_topk(**{name: on(device, value) for name, value in arguments.items()})


def on(device: Device, value: Any) -> Any:
    if isinstance(value, Tensor) and value.device.type != "meta":
        return value.to(device.tensors)
    return tuple(on(device, part) for part in value) if isinstance(value, tuple) else value


BAD_OFFSETS = {"negative": (3, -1), "descending": (4, 0), "beyond": (4, 10**6)}


@pytest.mark.parametrize("at", BAD_OFFSETS)
def test_bad_offsets_of_a_user_asked_for_are_named(at: str, device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)
    place, value = BAD_OFFSETS[at]
    offsets, items = problem.seen
    offsets[place] = value
    users = torch.tensor([1, 0, 3], device=device.tensors)
    message = (
        rf"seen offsets must ascend within \[0, {len(items)}\], got something else for the user at position 2 of users"
    )
    with pytest.raises(ValueError, match=message):
        topk(problem._replace(users=users), K)
    topk(problem._replace(users=users[:2]), K)  # nobody asks for that user


@pytest.mark.parametrize("value", [-1, 150])
def test_a_seen_item_out_of_range_is_named(value: int, device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)
    offsets, items = problem.seen
    user = int((offsets.diff() > 2).nonzero()[0, 0])
    items[offsets[user] + 1] = value
    message = rf"seen items must be in \[0, 150\), got {value} at position {int(offsets[user]) + 1}"
    message = message if device.name != "cuda" else message.replace(f"got {value}", "got another index")
    with pytest.raises(IndexError, match=message):
        topk(problem._replace(users=torch.tensor([user], device=device.tensors)), K)


def test_unchecked_indices_are_not_followed_on_cuda_and_raise_on_the_cpu(device: Device) -> None:
    problem = whole_numbers().to(torch.float32, device.tensors)
    users = torch.tensor([3, 40, 5, -(2**40), 2**40], device=device.tensors)
    if device.name == "cpu":
        with pytest.raises(IndexError, match=r"^users must be in"):
            topk(problem._replace(users=users), K, validate=False)
        return
    scores, items = topk(problem._replace(users=users), K, validate=False)
    wanted = expected(problem._replace(users=users[[0, 2]]), K)
    assert torch.equal(items[[0, 2]].cpu(), wanted[1])
    assert (items[[1, 3, 4]] == -1).all()
    assert (scores[[1, 3, 4]] == -torch.inf).all()
    offsets, seen_items = problem.seen
    wild = torch.where(torch.arange(41, device=device.tensors) % 2 == 0, -(2**50), 2**50)
    none_seen = topk(problem._replace(seen=None), K)
    got = topk(problem._replace(seen=(wild, seen_items)), K, validate=False)
    assert all(torch.equal(a, b) for a, b in zip(got, none_seen, strict=True))
    far = (offsets, torch.full_like(seen_items, 2**50))
    assert torch.equal(topk(problem._replace(seen=far), K, validate=False)[1], none_seen[1])
