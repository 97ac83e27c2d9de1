"""Bad arguments of `block_loss`: an error that names the argument, before anything is written."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from block.cases import CONSTANTS, KINDS, TABLES, Block, sample
from conftest import Device

from debias_ext import ConstantTarget, InterDTarget, block_loss

PAIRS = {"rows": "rated rows", "columns": "rated columns", "targets": "rated targets", "weights": "rated weights"}
CONSTANT = ("value", "user_weight", "item_weight", "rated_weights", "rated_values")


def spoken(kind: str) -> dict[str, str]:
    """The arguments of a kind, and what messages call them."""
    names = {name: name for name in TABLES} | PAIRS
    if kind in ("residual", "label"):
        return names | {f"first_{part}": f"unobserved.imputation.{part}" for part in TABLES}
    if kind in ("soft", "hard", "zero", "attached"):
        models = {"first": "biased", "second": "debiased"}
        return names | {
            name: f"unobserved.{models[name[: name.index('_')]]}.{name.split('_', 1)[1]}" for name in CONSTANTS
        }
    return names | ({name: f"unobserved.{name}" for name in CONSTANT} if kind == "own" else {})


ARGUMENTS = [(kind, name) for kind in ("own", "residual", "label", "soft") for name in spoken(kind)]


def refuse(block: Block, match: str, error: type[Exception] = ValueError, **changes: Any) -> None:
    with pytest.raises(error, match=match):
        block.fused(**changes)


@pytest.mark.parametrize(("kind", "name"), ARGUMENTS)
def test_something_else_than_the_tensor_that_is_asked_for(kind: str, name: str, device: Device) -> None:
    block, said = sample(kind, device=device.tensors), spoken(kind)[name]
    tensor = block.tensors[name]
    refuse(block, f"^{said} must be a ", **{name: "text"})
    refuse(block, f"^{said} must ", **{name: tensor.unsqueeze(0)})
    refuse(block, f"^{said} must ", **{name: tensor.to(torch.bool)})
    refuse(block, f"^{said} must ", **{name: tensor.to(torch.int16)})
    if tensor.dim():
        refuse(block, "must ", **{name: tensor[:-1]})
    if name != "user_factors":
        refuse(block, f"^{said} must be on the device of user_factors", **{name: tensor.to("meta")})
    if tensor.is_floating_point() and name != "user_factors":
        refuse(block, f"^{said} must have the dtype of (user_factors|rated targets)", **{name: tensor.float()})


@pytest.mark.parametrize("kind", KINDS)
def test_indices_out_of_range(kind: str, device: Device) -> None:
    for index in (torch.int32, torch.int64):
        block = sample(kind, index=index, device=device.tensors)
        for name, size in (("rows", 5), ("columns", 7)):
            for bad in (-1, size, torch.iinfo(index).max):
                wrong = block.tensors[name].clone()
                wrong[3] = bad
                refuse(
                    block, rf"^rated {name} must be in \[0, {size}\), got .* at position 3", IndexError, **{name: wrong}
                )


@pytest.mark.parametrize("kind", KINDS)
def test_unchecked_indices_out_of_range_make_the_loss_nan_on_cuda_and_raise_on_the_cpu(
    kind: str, device: Device
) -> None:
    block = sample(kind, device=device.tensors)
    for name in ("rows", "columns"):
        for bad in (-1, 1_000_000):
            wrong = block.tensors[name].clone()
            wrong[3] = bad
            if device.name == "cpu":  # always checked
                refuse(block, f"^rated {name} must be in", IndexError, **{name: wrong}, validate=False)
            else:
                assert block.fused(**{name: wrong}, validate=False).isnan()


def test_rated_is_three_or_four_tensors(device: Device) -> None:
    block = sample("join", device=device.tensors)
    t = block.tensors
    pair, five = (t["rows"], t["columns"]), 5 * (t["rows"],)
    for rated, got in (((), "0 values"), (pair, "2 values"), (t["rows"], "Tensor"), (five, "5 values")):
        with pytest.raises(ValueError, match=rf"^rated must be \(rows, columns, targets.*, got {got}$"):
            block_loss(t["user_factors"], t["item_factors"], rated=rated, unobserved=ConstantTarget(0.0))


def test_options() -> None:
    block = sample("own")
    target = block.unobserved(block.tensors)
    refuse(block, "^reduction must be 'sum' or 'mean', got 'none'", reduction="none")
    refuse(block, "^unobserved must be a ConstantTarget, DRTarget or InterDTarget, got float", unobserved=0.5)
    refuse(
        block, "^unobserved.rated must be 'join' or 'replace', got 'both'", unobserved=ConstantTarget(0.0, rated="both")
    )
    refuse(block, "^unobserved.value must be a number or a 0-d tensor, got str", unobserved=ConstantTarget("one"))
    refuse(
        block,
        "must be given together, got rated_values alone",
        unobserved=replace(target, rated_weights=None),
    )
    refuse(block, "must be None where rated='replace'", unobserved=replace(target, rated="replace"))
    dr = sample("label")
    refuse(dr, "^unobserved.form must be", unobserved=replace(dr.unobserved(dr.tensors), form="both"))
    interd = sample("soft")
    target = interd.unobserved(interd.tensors)
    for change, match in (
        ({"variant": "both"}, "^unobserved.variant must be 'soft', 'hard' or 'zero', got 'both'"),
        ({"gamma": math.nan}, "^unobserved.gamma must be finite, got nan"),
        ({"beta": math.inf}, "^unobserved.beta must be finite, got inf"),
        ({"gamma": "one"}, "^unobserved.gamma must be a number, got str"),
        ({"biased": 5}, "^unobserved.biased must be FactorTables"),
    ):
        refuse(interd, match, unobserved=replace(target, **change))


def test_tables_of_teachers_must_be_constants() -> None:
    block = sample("soft")
    trained = block.tensors["second_item_factors"].clone().requires_grad_()
    refuse(block, "^unobserved.debiased.item_factors is a constant of this loss", second_item_factors=trained)
    with torch.no_grad():
        assert block.fused(second_item_factors=trained) == block.fused()


def test_half_types_need_cuda() -> None:
    block = sample("join", dtype=torch.float16)
    refuse(block, "^user_factors must be float32 or float64, got float16")


def test_teachers_are_tuples_too() -> None:
    block = sample("soft")
    target = block.unobserved(block.tensors)
    assert isinstance(target, InterDTarget)
    assert block.fused(unobserved=replace(target, biased=tuple(target.biased))) == block.fused()
