"""All pairs of a block in the Gram form, against the enumerated pairs and their double backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from conftest import Device
from lookahead.cases import TOLERANCE, Case, Maker, assert_equal_to_reference, gradients
from lookahead.test_lookahead_derivatives import operator_arguments
from torch import Tensor

import debias_ext
from debias_ext import _library


def block_case(
    *,
    m: int = 7,
    n: int = 5,
    rated: int = 14,
    upper: int = 8,
    own: bool = True,
    source: str | None = "weights",
    bias: bool = True,
    adam: bool = False,
    tables: tuple[int, int, int] = (12, 9, 3),
    dtype: torch.dtype = torch.float64,
    index: torch.dtype = torch.int64,
    seed: int = 0,
    device: str = "cpu",
) -> Case:
    make, (n_users, n_items, d) = Maker(seed, dtype, index), tables
    users = torch.randperm(n_users, generator=make.generator)[:m]
    items = torch.randperm(n_items, generator=make.generator)[:n]
    pairs = torch.randperm(m * n, generator=make.generator)[:rated]
    given = {"user_factors": make.floats("", n_users, d), "item_factors": make.floats("", n_items, d)}
    if bias:
        given |= {"user_bias": make.floats("", n_users), "item_bias": make.floats("", n_items)}
    block: dict[str, Any] = {"users": users.to(index), "items": items.to(index), "value": make.floats("")}
    block |= {"user_weight": make.floats("propensities", m), "item_weight": make.floats("propensities", n)}
    if own:
        block |= {"weights": make.floats("propensities", len(pairs)), "imputations": make.floats("", len(pairs))}
    lower = {"users": users[pairs // n].to(index), "items": items[pairs % n].to(index), "reduction": "sum"}
    lower |= {"targets": make.floats("targets", len(pairs)), "block": block}
    if source:
        lower[source] = make.floats(source, len(pairs))
    above = {**make.rows(upper, (0, n_users), (0, n_items)), "targets": make.floats("targets", upper)}
    options: dict[str, Any] = {"lr": 0.05, "l2": 0.3}
    if adam:
        moments = {key: {k: make.floats(key, *t.shape) for k, t in given.items()} for key in ("exp_avg", "exp_avg_sq")}
        options["assumed"] = {**moments, "step": 4}
    return Case(given, lower, {**above, "reduction": "sum"}, options).map(lambda tensor: tensor.to(device))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("source", [None, "weights", "propensities", "propensity_logits"])
def test_equals_the_enumerated_pairs(own: bool, bias: bool, source: str | None, device: Device) -> None:
    case = block_case(own=own, bias=bias, source=source, device=device.tensors)
    assert all(bool(g.any()) for g in gradients(case.reference, case)[1:])
    assert_equal_to_reference(case, 1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"adam": True},
        {"rated": 0},
        {"upper": 0},
        {"upper": 1},
        {"m": 1, "n": 1, "rated": 1},
        {"m": 12, "n": 9, "rated": 108},
        {"index": torch.int32},
        {"tables": (40, 30, 17), "m": 33, "n": 21, "rated": 300, "upper": 50},
        {"tables": (3000, 30, 2), "m": 2500, "n": 20, "rated": 4000, "upper": 300},
    ],
    ids=str,
)
def test_shapes(options: dict[str, Any], device: Device) -> None:
    assert_equal_to_reference(block_case(**options, device=device.tensors), 1e-10)


def test_calls_leave_nothing_behind() -> None:
    """The memory that calls share: Adam, then a plain step, then other sizes."""
    for options in ({"adam": True}, {}, {"tables": (40, 30, 17), "m": 33, "n": 21, "rated": 300}, {"rated": 0}, {}):
        assert_equal_to_reference(block_case(**options), 1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_dtype(dtype: torch.dtype, device: Device) -> None:
    case = block_case(dtype=dtype, device=device.tensors)
    if dtype not in device.floats:
        with pytest.raises(ValueError, match="user_factors must be float32 or float64"):
            case.fused()
        return
    assert_equal_to_reference(case, TOLERANCE[dtype])


def test_only_the_asked_gradients_are_given(device: Device) -> None:
    case = block_case(device=device.tensors)
    for k, wanted in enumerate(gradients(case.fused, case)[1:]):
        leaves = [leaf.detach() for leaf in case.leaves()]
        leaves[k].requires_grad_()
        (got,) = torch.autograd.grad(case.fused(*leaves), leaves[k])
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_default_weights_are_one_and_the_value_may_be_a_number(device: Device) -> None:
    case = block_case(own=False, device=device.tensors)
    block = case.lower["block"]
    block["user_weight"], block["item_weight"] = (torch.ones_like(block[k]) for k in ("user_weight", "item_weight"))
    block["value"] = torch.full_like(block["value"], 0.25)
    wanted = case.fused()
    case.lower["block"] = {"users": block["users"], "items": block["items"], "value": 0.25}
    torch.testing.assert_close(case.fused(), wanted, rtol=0, atol=0)


def test_rows_outside_the_block_stay_where_they_are(device: Device) -> None:
    case = block_case(upper=4, device=device.tensors)
    outside = [u for u in range(12) if u not in case.lower["block"]["users"].tolist()]
    beyond = [i for i in range(9) if i not in case.lower["block"]["items"].tolist()]
    case.upper["users"] = torch.tensor(outside[:4], device=device.tensors)
    case.upper["items"] = torch.tensor(beyond[:4], device=device.tensors)
    value, *got = gradients(case.fused, case)
    case.options["lr"] = 0.0
    torch.testing.assert_close(value, case.fused())
    assert not any(bool(g.any()) for g, name in zip(got, case.names(), strict=True) if name[0] == "lower")


def large(dtype: torch.dtype) -> Case:
    sizes = {"m": 1500, "n": 70, "rated": 20000, "upper": 900, "tables": (2000, 90, 10)}
    return block_case(**sizes, dtype=dtype)


def test_the_same_bits_for_every_number_of_threads(one_and_two_threads: None) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        case = large(torch.float32)
        results.append(gradients(case.fused, case))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_two_calls_give_the_same_bits(device: Device) -> None:
    case = block_case(dtype=torch.float32, rated=30, upper=20, device=device.tensors)
    assert all(torch.equal(a, b) for a, b in zip(gradients(case.fused, case), gradients(case.fused, case), strict=True))


def test_simd_levels_agree(simd_levels: list[str]) -> None:
    results = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        case = large(torch.float64)
        results.append(gradients(case.fused, case))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))


def test_autograd_compile_and_opcheck() -> None:
    case = block_case()
    assert torch.autograd.gradcheck(case.fused, case.leaves())
    torch._dynamo.reset()
    compiled = torch.compile(case.fused, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(gradients(compiled, case), gradients(case.fused, case), strict=True):
        torch.testing.assert_close(got, wanted)
    arguments = operator_arguments(case, "_block_rule", 9)
    torch.library.opcheck(torch.ops.debias_ext.lookahead_block_loss.default, arguments)
    leaves = case.leaves()
    first = torch.autograd.grad(case.fused(*leaves), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(first[0].sum(), leaves)


def test_nan_propagates(device: Device) -> None:
    case = block_case(device=device.tensors)
    case.lower["block"]["item_weight"][2] = float("nan")
    case.upper["users"], case.upper["items"] = case.lower["users"][:8], case.lower["items"][:8]
    assert case.fused().isnan()


def _other_item(items: Tensor) -> Tensor:
    """The items with the first one replaced by one from outside."""
    outside = next(i for i in range(9) if i not in items.tolist())
    return torch.cat((items.new_tensor([outside]), items[1:]))


BAD = [
    ("users", lambda b: torch.cat((b["users"][:1], b["users"][:-1])), "must be distinct, got"),
    ("users", lambda b: b["users"] + 1000, r"lower\['block'\]\['users'\] must be in \[0, 12\)"),
    ("items", lambda b: _other_item(b["items"]), r"lower\['items'\] must be in lower\['block'\]\['items'\]"),
    ("users", lambda b: b["users"].float(), r"lower\['block'\]\['users'\] must have the dtype of lower\['users'\]"),
    ("user_weight", lambda b: b["user_weight"][1:], r"lower\['block'\]\['user_weight'\] must have shape \[7\]"),
    ("item_weight", lambda b: b["item_weight"].float(), r"lower\['block'\]\['item_weight'\] must have the dtype"),
    ("value", lambda b: b["user_weight"][:2], r"lower\['block'\]\['value'\] must have shape \[\]"),
    ("weights", lambda b: None, "both of 'weights' and 'imputations'"),
    ("imputations", lambda b: b["imputations"][:3], r"lower\['block'\]\['imputations'\] must have shape"),
    ("weight", lambda b: 1, "unknown key 'weight', did you mean 'weights'"),
    ("item_weight", lambda b: 1, r"lower\['block'\]\['item_weight'\] must be a torch.Tensor, got int"),
]


@pytest.mark.parametrize(("key", "change", "message"), BAD, ids=[f"{key}-{k}" for k, (key, *_) in enumerate(BAD)])
def test_bad_blocks_raise(key: str, change: Any, message: str, device: Device) -> None:
    case = block_case(device=device.tensors)
    case.lower["block"][key] = change(case.lower["block"])
    with pytest.raises((ValueError, IndexError), match=message):
        case.fused()


@pytest.mark.parametrize(("key", "value"), [("loss", "bce"), ("reduction", "mean")])
def test_a_block_needs_a_sum_of_squares(key: str, value: Any) -> None:
    case = block_case()
    case.lower[key] = value
    with pytest.raises(ValueError, match="needs lower\\['loss'\\] 'mse' and lower\\['reduction'\\] 'sum'"):
        case.fused()


def test_the_cost_does_not_grow_with_the_pairs() -> None:
    """A block of 4e9 pairs: enumerated, it would not fit in memory."""
    make = Maker(0, torch.float32, torch.int64)
    p, q = make.floats("", 200_000, 2), make.floats("", 20_000, 2)
    value = torch.zeros((), requires_grad=True)
    block = {"users": torch.arange(200_000), "items": torch.arange(20_000), "value": value}
    empty: Tensor = torch.zeros(0, dtype=torch.int64)
    lower = {"users": empty, "items": empty, "targets": torch.zeros(0), "reduction": "sum", "block": block}
    upper = {**make.rows(100, (0, 200_000), (0, 20_000)), "targets": make.floats("", 100)}
    loss = debias_ext.lookahead_loss(p, q, lower=lower, upper=upper, lr=1e-9)
    assert torch.autograd.grad(loss, value)[0].isfinite()


def test_unchecked_pairs_outside_the_block_are_left_out(device: Device) -> None:
    def of_pairs(change: Callable[[Tensor], Tensor], case: Case) -> Case:
        block = {k: change(v) if k in ("weights", "imputations") else v for k, v in case.lower["block"].items()}
        pairs = {key: change(case.lower[key]) for key in ("users", "items", "targets", "weights")}
        return replace(case, lower={**case.lower, **pairs, "block": block})

    case = block_case(device=device.tensors)
    # One item is not in the table; the other is, and the upper batch meets it, but the block does not hold it.
    outside = next(item for item in range(9) if item not in case.lower["block"]["items"].tolist())
    case.upper["items"][0] = outside
    without = of_pairs(lambda pairs: pairs[2:], case)
    case.lower["items"] = torch.cat((torch.tensor([1 << 40, outside], device=device.tensors), case.lower["items"][2:]))
    if device.name == "cpu":
        with pytest.raises(IndexError, match=r"lower\['items'\] must be in \[0, 9\)"):
            case.fused(validate=False)
        return
    got, wanted = gradients(partial(case.fused, validate=False), case), gradients(without.fused, without)
    for a, b in zip(got, wanted, strict=True):
        left_out = a.shape[:1] == (14,)
        assert not left_out or not a[:2].any()
        torch.testing.assert_close(a[2:] if left_out else a, b)
