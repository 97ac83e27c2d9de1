"""Bad input: an error that names the argument, before anything is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import Device
from ops.cases import SMALL, Case, Spec, sample_inputs
from torch import Tensor

import debias_ext

ROWS = ("scores", "targets", "weights", "pseudo_targets", "propensities", "propensity_logits", "observed")
ARGUMENTS = [(spec, name) for spec in SMALL for name in spec.tensors]
OPTIONAL = ("weights", "ratings", "debiased_weight", "user_bias", "item_bias")
ALTERNATIVES = {"ips_loss": "propensities", "snips_loss": "propensities", "exposure_loss": "exposures"}
IDS = [f"{spec}:{name}" for spec, name in ARGUMENTS]


def assert_refused(case: Case, match: str, error: type[Exception] = ValueError, **changes: Any) -> None:
    arguments = {**case.tensors, **changes}
    before = copy.deepcopy({name: value for name, value in arguments.items() if isinstance(value, Tensor)})
    with pytest.raises(error, match=match):
        case.fused(**changes)
    for name, value in before.items():
        assert value.is_meta or torch.equal(value.nan_to_num(7), arguments[name].nan_to_num(7))


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_something_else_than_a_tensor(spec: Spec, name: str, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    assert_refused(case, f"^{name} must be ", **{name: "text"})
    assert_refused(case, f"^{name} must be ", **{name: [1.0] * 7})
    alternative = ALTERNATIVES.get(spec.op, "none")
    if name in (alternative, alternative.replace("ies", "y").removesuffix("s") + "_logits"):
        assert_refused(case, f"exactly one of {alternative} and .*_logits, got neither", **{name: None})
    elif name.endswith("_popularity"):
        assert_refused(case, f"^{name} must be given together with", **{name: None})
    elif name not in (*OPTIONAL, "offset"):
        assert_refused(case, f"^{name} must be a torch.Tensor, got NoneType", **{name: None})


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_dtype(spec: Spec, name: str, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    first = next(iter(spec.tensors))
    if name in ("users", "items"):
        wrong = (
            [torch.float32, torch.int16, torch.int32] if name == "items" else [torch.float32, torch.int16, torch.bool]
        )
    elif name == "observed":
        wrong = [torch.float64, torch.uint8, torch.int64]
    else:
        wrong = [torch.int64, torch.bool, torch.complex64, *([] if name == first else [torch.float32])]
    for dtype in wrong:
        assert_refused(case, f"^{name} must (be|have the dtype)", **{name: case.tensors[name].to(dtype)})


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_shape(spec: Spec, name: str, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    value = case.tensors[name]
    grown = torch.cat([value.reshape(-1, *value.shape[1:]), value.reshape(-1, *value.shape[1:])])
    if name in (spec.tensors[0], "users") and name != "user_factors":  # the next argument no longer fits
        following = "items" if name == "users" else spec.tensors[1]
        assert_refused(case, f"^{following} must have the shape of", **{name: grown})
    elif name in ("user_factors", "item_factors"):
        assert_refused(case, "^item_factors must have as many columns as user_factors", **{name: value[:, :2]})
    else:
        assert_refused(case, f"^{name} must have (the )?shape", **{name: grown})
    if name not in ("scores", "positive_scores", "offset"):
        assert_refused(case, f"^{name} must have", **{name: value.unsqueeze(0)})


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_device(spec: Spec, name: str, device: Device) -> None:
    case = sample_inputs(spec, device=device.tensors)
    first, second = spec.tensors[:2]
    named = second if name == first else name
    assert_refused(case, f"^{named} must be on the device of {first}", **{name: case.tensors[name].to("meta")})


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.0000001, float("inf"), float("nan")])
@pytest.mark.parametrize("op", ["ips_loss", "snips_loss", "dr_loss"])
def test_propensity_outside_its_range(op: str, bad: float, device: Device) -> None:
    spec = next(s for s in SMALL if s.op == op and "propensities" in s.tensors)
    case = sample_inputs(spec, 5000, dtype=torch.float32, device=device.tensors)
    propensities = case.tensors["propensities"].clone()
    propensities[[2500, 4999]] = bad
    changes = {"propensities": propensities}
    if op == "dr_loss":
        changes["observed"] = torch.arange(5000, device=device.tensors) != 2499
    where = r"got \S+ at row 2500 \(2 such rows\)$" if device.name == "cpu" else "got other values$"
    assert_refused(case, r"^propensities must be in \(0, 1\], " + where, **changes)


@pytest.mark.parametrize("op", ["ips_loss", "snips_loss"])
def test_nan_logit(op: str, device: Device) -> None:
    spec = next(s for s in SMALL if s.op == op and "propensity_logits" in s.tensors)
    case = sample_inputs(spec, device=device.tensors)
    logits = case.tensors["propensity_logits"].clone()
    logits[3] = float("nan")
    assert_refused(case, "^propensity_logits must not be NaN", propensity_logits=logits)


@pytest.mark.parametrize("name", ["users", "items"])
@pytest.mark.parametrize("bad", [-1, 99, 2**31 - 1, -(2**31), 2**40])
def test_index_out_of_range(name: str, bad: int, device: Device) -> None:
    for dtype in (torch.int64, torch.int32):
        if dtype == torch.int32 and abs(bad) > 2**31:
            continue
        case = sample_inputs(SMALL[-1], 70000, index=dtype, device=device.tensors)
        indices = case.tensors[name].clone()
        indices[[69000, 69999]] = bad
        rows = 5 if name == "users" else 6
        got = str(bad) if device.name == "cpu" else "another index"
        match = rf"^{name} must be in \[0, {rows}\), got {got} at position 69000$"
        assert_refused(case, match, IndexError, **{name: indices})


def test_index_into_an_empty_table(device: Device) -> None:
    case = sample_inputs(SMALL[-1], device=device.tensors)
    empty = torch.empty(0, 3, dtype=torch.float64, device=device.tensors)
    assert_refused(case, r"^users must be in \[0, 0\)", IndexError, user_factors=empty, user_bias=None)


OPTIONS = [
    ({"loss": "huber"}, "^loss must be 'mse', 'mae' or 'bce', got 'huber'"),
    ({"reduction": "average"}, "^reduction must be 'mean', 'sum' or 'none', got 'average'"),
    *[({"clip_min": value}, r"^clip_min must be in \(0, 1\]") for value in (0.0, -0.5, 1.5, float("nan"))],
    *[({"floor": value}, r"^floor must be in \(0, 1\)") for value in (0.0, -0.5, 1.0, float("nan"))],
    ({"floor": 0.1, "clip_min": 0.1}, "^clip_min and floor exclude each other"),
    *[
        ({"normaliser": value}, "^normaliser must be")
        for value in (
            (0.0, 5),
            (-1.0, 5),
            (float("inf"), 5),
            (float("nan"), 5),
            (3.0, 0),
            3.0,
            (3.0,),
            (3.0, 2.5),
            "ab",
        )
    ],
    ({"offset": "text"}, "^offset must be a number or a 0-d tensor"),
    ({"offset": None}, "^offset must be a number or a 0-d tensor"),
]


@pytest.mark.parametrize(("options", "match"), OPTIONS, ids=[str(options) for options, _ in OPTIONS])
def test_option(options: dict[str, Any], match: str, device: Device) -> None:
    takers = {"clip_min": ("ips_loss", "snips_loss"), "normaliser": ("snips_loss",), "offset": ("mf_score",)}
    takers["floor"] = takers["clip_min"]
    takers["reduction"] = ("pointwise_loss", "ips_loss", "dr_loss")
    takers["loss"] = (*takers["reduction"], "snips_loss")
    takers["reduction"] = (*takers["reduction"], "interd_loss")
    for spec in SMALL:
        if spec.op in takers[next(iter(options))]:
            assert_refused(sample_inputs(spec, device=device.tensors), match, **options)


@pytest.mark.parametrize("op", [debias_ext.ips_loss, debias_ext.snips_loss])
def test_both_propensities_and_logits(op: Any) -> None:
    rows = torch.ones(3)
    with pytest.raises(ValueError, match="exactly one of propensities and propensity_logits, got both"):
        op(rows, rows, rows, propensity_logits=rows)


def test_values_are_not_checked_on_cuda_when_the_caller_says_so(device: Device) -> None:
    score = sample_inputs(SMALL[-1], device=device.tensors)
    users = score.tensors["users"].clone()
    users[2] = 99
    loss = sample_inputs(next(s for s in SMALL if s.op == "ips_loss"), device=device.tensors)
    propensities = loss.tensors["propensities"] * 0
    if device.name == "cpu":
        assert_refused(score, "^users must be in", IndexError, users=users, validate=False)
        assert_refused(loss, "^propensities must be in", propensities=propensities, validate=False)
        return
    leaf = score.leaves()["item_factors"]
    scores = score.fused(users=users, item_factors=leaf, validate=False)
    assert scores.isnan().nonzero().flatten().tolist() == [2]
    good = torch.arange(7, device=device.tensors) != 2
    (got,) = torch.autograd.grad(scores[good].sum(), leaf)
    rest = {name: score.tensors[name][good] for name in ("users", "items")}
    (wanted,) = torch.autograd.grad(score.reference(**rest, item_factors=leaf).sum(), leaf)
    torch.testing.assert_close(got, wanted)
    assert not loss.fused(propensities=propensities, validate=False).isfinite()
