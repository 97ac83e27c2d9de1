"""Bad arguments of lookahead_loss raise before anything is computed, and name what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Device
from lookahead.cases import Case, factors, of_model, sample

import debias_ext

DR = {"lower_source": "doubly_robust", "missing": 4}
Change = Callable[[Case], Any]


def put(side: str, key: str, value: Any) -> Change:
    """Sets an entry, or, where `value` is a function, what it makes of the entry."""

    def change(case: Case) -> None:
        holder = case.tables if side == "tables" else case.options if side == "options" else getattr(case, side)
        if callable(value):
            holder[key] = value(holder[key])
        else:
            holder[key] = value

    return change


def at(row: int, value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed[row] = value
        return changed

    return change


SHAPES: list[tuple[dict[str, Any], Change, str]] = [
    ({}, put("tables", "user_factors", lambda t: t[0]), r"user_factors must have 2 dimension\(s\)"),
    ({}, put("tables", "user_factors", lambda t: t.int()), "user_factors must be float32"),
    ({}, put("tables", "item_factors", lambda t: t[:, :2]), "item_factors must have as many columns"),
    ({}, put("tables", "item_factors", lambda t: t.float()), "item_factors must have the dtype of user_factors"),
    ({}, put("tables", "user_bias", lambda t: t[1:]), r"user_bias must have shape \[11\], got \[10\]"),
    ({}, put("tables", "item_bias", lambda t: t.float()), "item_bias must have the dtype of user_factors"),
    ({}, put("tables", "item_bias", 1.0), "item_bias must be a torch.Tensor, got float"),
    ({}, put("lower", "users", lambda t: t.double()), r"lower\['users'\] must be int32 or int64, got float64"),
    ({}, put("lower", "users", lambda t: t.reshape(-1, 1)), r"lower\['users'\] must have 1 dimension"),
    ({}, put("upper", "items", lambda t: t[1:]), r"upper\['items'\] must have the shape of upper\['users'\]"),
    ({}, put("upper", "items", lambda t: t.int()), r"upper\['items'\] must have the dtype of upper\['users'\]"),
    ({}, put("lower", "targets", lambda t: t[1:]), r"lower\['targets'\] must have the shape of lower\['users'\]"),
    ({}, put("upper", "targets", lambda t: t.float()), r"upper\['targets'\] must have the dtype of user_factors"),
    ({}, put("lower", "weights", lambda t: t[1:]), r"lower\['weights'\] must have the shape of lower\['targets'\]"),
    ({}, put("lower", "weights", [1.0]), r"lower\['weights'\] must be a torch.Tensor, got list"),
    ({}, put("lower", "weigths", 1), "lower has an unknown key 'weigths', did you mean 'weights'"),
    ({}, put("upper", "imputations", 1), "upper has an unknown key 'imputations'"),
    ({}, lambda case: case.upper.pop("targets"), "upper must hold 'targets', got 'users'"),
    ({}, put("lower", "users", None), "lower must hold 'users', got 'items'"),
    (DR, put("lower", "observed", lambda t: t.double()), r"lower\['observed'\] must be bool"),
    (DR, put("lower", "imputations", lambda t: t[1:]), r"lower\['imputations'\] must have the shape"),
    (DR, lambda case: case.lower["missing"].pop("users"), r"lower\['missing'\] must hold 'users'"),
    (DR, put("lower", "missing", 3), r"lower\['missing'\] must be a dict, got int"),
    ({}, put("options", "l2", float("nan")), "l2 must be finite and not negative"),
    ({}, put("options", "assumed", "adam"), "assumed must be 'sgd' or a dict of Adam's state, got 'adam'"),
    ({"adam": True}, lambda c: c.options["assumed"].update(step=-1), r"assumed\['step'\] must be at least 0, got -1"),
    (
        {"adam": True},
        lambda c: c.options["assumed"].update(betas=(0.9, 1.0)),
        r"assumed\['betas'\] must be in \[0, 1\)",
    ),
    ({"adam": True}, lambda c: c.options["assumed"].update(eps=-1.0), r"assumed\['eps'\] must be finite"),
    ({"adam": True}, lambda c: c.options["assumed"]["exp_avg"].pop("item_bias"), "must hold 'item_bias'"),
    (
        {"adam": True},
        lambda c: c.options["assumed"]["exp_avg_sq"].update(user_bias=torch.zeros(3).double()),
        r"assumed\['exp_avg_sq'\]\['user_bias'\] must have the shape of user_bias",
    ),
]


@pytest.mark.parametrize(("options", "change", "message"), SHAPES, ids=[case[2][:40] for case in SHAPES])
def test_shapes_dtypes_and_options(options: dict[str, Any], change: Change, message: str, device: Device) -> None:
    case = sample(**options)
    change(case)
    case = case.map(lambda tensor: tensor.to(device.tensors))
    with pytest.raises(ValueError, match=message):
        case.fused()


CONTRADICTIONS: list[tuple[dict[str, Any], Change, str]] = [
    ({}, put("lower", "propensities", torch.ones(19)), "lower must hold at most one of .*, got weights and propens"),
    ({}, put("lower", "loss", "huber"), r"lower\['loss'\] must be one of 'mse', 'mae', .*, got 'huber'"),
    ({}, put("lower", "loss", "exposure"), r"lower\['loss'\] 'exposure' takes exposures, exposure_logits, got weights"),
    ({}, put("upper", "reduction", "none"), r"upper\['reduction'\] must be one of 'mean', 'sum', got 'none'"),
    ({}, put("upper", "loss", "relmf"), r"upper\['loss'\] 'relmf' takes exposures, got no weights"),
    (
        {"upper_source": "exposures", "upper_loss": "exposure"},
        put("upper", "loss", "mse"),
        r"upper\['loss'\] 'mse' takes .*, got exposures",
    ),
    (DR, put("lower", "loss", "mae"), r"lower\['loss'\] 'mae' takes .*, got imputations"),
    (DR, lambda case: case.lower.pop("propensities"), "lower must hold 'propensities' beside 'imputations'"),
    (DR, lambda case: case.lower.pop("imputations"), r"lower\['observed'\] needs lower\['imputations'\]"),
    (DR, lambda case: case.lower["missing"].update(scale="big"), r"lower\['missing'\]\['scale'\] must be a number"),
    ({}, put("lower", "clip_min", 0.1), r"lower\['clip_min'\] must not be given with weights and the loss 'mse'"),
    ({}, put("lower", "floor", 0.1), r"lower\['floor'\] must not be given with weights"),
    ({}, put("upper", "clip_min", 0.1), r"upper\['clip_min'\] must not be given with no weights"),
    (DR, put("lower", "clip_min", 0.1), r"lower\['clip_min'\] must not be given with imputations"),
    (DR, put("lower", "floor", 0.1), r"lower\['floor'\] must not be given with imputations"),
    (
        {"lower_loss": "relmf", "lower_source": "exposures"},
        put("lower", "floor", 0.1),
        r"lower\['floor'\] must not be given with exposures and the loss 'relmf'",
    ),
    (
        {"lower_loss": "exposure", "lower_source": "exposures"},
        put("lower", "clip_min", 0.1),
        r"lower\['clip_min'\] must not be given with exposures and the loss 'exposure'",
    ),
    (
        {"lower_source": "propensities"},
        put("lower", "clip_min", 2.0),
        r"lower\['clip_min'\] must be in \(0, 1\], got 2.0",
    ),
    (
        {"upper_source": "propensities"},
        put("upper", "floor", 1.0),
        r"upper\['floor'\] must be in \(0, 1\), got 1.0",
    ),
    ({}, put("options", "lr", -1.0), "lr must be finite and not negative, got -1"),
]


@pytest.mark.parametrize(
    ("options", "change", "message"), CONTRADICTIONS, ids=[case[2][:50] for case in CONTRADICTIONS]
)
def test_contradictions_are_refused_for_tables_and_for_any_model(
    options: dict[str, Any], change: Change, message: str
) -> None:
    case = sample(**options)
    change(case)
    with pytest.raises(ValueError, match=f"^{message}"):
        case.fused()
    with pytest.raises(ValueError, match=f"^{message}"):
        of_model(case).call(debias_ext.lookahead_loss_for, model_fn=factors)


VALUES = [
    (
        {"lower_source": "propensities"},
        put("lower", "propensities", at(3, 0.0)),
        r"lower\['propensities'\] must be in \(0, 1\]",
    ),
    (
        {"upper_source": "propensities"},
        put("upper", "propensities", at(3, 1.5)),
        r"upper\['propensities'\] must be in \(0, 1\]",
    ),
    (
        {"lower_source": "propensity_logits"},
        put("lower", "propensity_logits", at(3, float("nan"))),
        r"lower\['propensity_logits'\] must not be NaN",
    ),
    (
        {"lower_loss": "exposure", "lower_source": "exposures"},
        put("lower", "exposures", at(3, -0.1)),
        r"lower\['exposures'\] must be in \[0, 1\], and at least 1e-28 \(float64: 1e-288\) where there is a click",
    ),
    (
        {"lower_loss": "exposure", "lower_source": "exposure_logits"},
        put("lower", "targets", at(3, 1.1)),
        r"lower\['targets'\] must be in \[0, 1\]",
    ),
    (
        {"upper_loss": "relmf", "upper_source": "exposures"},
        put("upper", "exposures", at(3, 0.0)),
        r"upper\['exposures'\]",
    ),
]


@pytest.mark.parametrize(("options", "change", "message"), VALUES, ids=[case[2][:40] for case in VALUES])
def test_values_out_of_range(options: dict[str, Any], change: Change, message: str, device: Device) -> None:
    case = sample(**options)
    change(case)
    case = case.map(lambda tensor: tensor.to(device.tensors))
    with pytest.raises(ValueError, match=f"{message}.*at row 3"):
        case.fused()


@pytest.mark.parametrize("value", [-1, 11, 10**6])
@pytest.mark.parametrize("side", ["lower", "upper"])
@pytest.mark.parametrize("key", ["users", "items"])
def test_indices_out_of_range(side: str, key: str, value: int, device: Device) -> None:
    case = sample()
    getattr(case, side)[key][5] = value
    case = case.map(lambda tensor: tensor.to(device.tensors))
    rows = 11 if key == "users" else 9
    with pytest.raises(IndexError, match=rf"{side}\['{key}'\] must be in \[0, {rows}\), got .* at position 5"):
        case.fused()


@pytest.mark.parametrize("side", ["lower", "upper"])
@pytest.mark.parametrize("value", [-1, 11, 2**40])
def test_unvalidated_indices_raise_on_the_cpu_and_are_never_read_on_cuda(side: str, value: int, device: Device) -> None:
    case = sample()
    case.lower["users"][3], case.lower["items"][3] = case.upper["users"][3], case.upper["items"][3]
    getattr(case, side)["users"][3] = value
    case = case.map(lambda tensor: tensor.to(device.tensors))
    if device.name == "cpu":  # always validated
        with pytest.raises(IndexError, match=rf"^{side}\['users'\] must be in \[0, 11\), got {value} at position 3"):
            case.fused(validate=False)
        return
    assert case.fused(validate=False).isnan() == (side == "upper")


def test_values_of_unobserved_rows_are_not_read(device: Device) -> None:
    case = sample(**DR).map(lambda tensor: tensor.to(device.tensors))
    wanted = case.fused()
    hidden = ~case.lower["observed"]
    for key in ("targets", "propensities"):
        case.lower[key] = case.lower[key].masked_fill(hidden, float("nan"))
    assert torch.equal(case.fused(), wanted)


def test_devices_may_not_be_mixed() -> None:
    case = sample()
    case.lower["targets"] = case.lower["targets"].to("meta")
    with pytest.raises(ValueError, match=r"lower\['targets'\] must be on the device of user_factors, cpu, got meta"):
        case.fused()
