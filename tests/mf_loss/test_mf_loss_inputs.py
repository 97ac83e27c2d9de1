"""Bad input of `mf_loss`: an error that names the argument, before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Device
from mf_loss.specs import EVERYTHING, FULL, samples
from ops.cases import Case, Spec

CLICKS = next(s for s in FULL if dict(s.options)["loss"] == "exposure")
RELMF = next(s for s in FULL if dict(s.options)["loss"] == "relmf")
COLUMNS = ("targets", "weights", "pseudo_targets", "exposures")
OPTIONAL = ("weights", "user_bias", "item_bias", "pseudo_targets")
ARGUMENTS = [*((EVERYTHING, name) for name in EVERYTHING.tensors), (CLICKS, "exposures")]
IDS = [name for _, name in ARGUMENTS]


def assert_refused(case: Case, match: str, error: type[Exception] = ValueError, **changes: Any) -> None:
    before = {name: value.clone() for name, value in case.tensors.items()}
    with pytest.raises(error, match=match):
        case.fused(**changes)
    for name, value in before.items():
        assert torch.equal(value, case.tensors[name])


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_something_else_than_a_tensor(spec: Spec, name: str, device: Device) -> None:
    case = samples(spec, device=device.tensors)
    assert_refused(case, f"^{name} must be ", **{name: "text"})
    if name == "exposures":
        assert_refused(case, "^exposures must be given for the loss 'exposure'", exposures=None)
    elif name not in (*OPTIONAL, "offset"):
        assert_refused(case, f"^{name} must be a torch.Tensor, got NoneType", **{name: None})


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_dtype(spec: Spec, name: str, device: Device) -> None:
    case = samples(spec, device=device.tensors)
    if name in ("users", "items"):
        wrong = [torch.float32, torch.int16, *([torch.int32] if name == "items" else [])]
    else:
        wrong = [torch.int64, torch.bool, torch.complex64, *([] if name == "user_factors" else [torch.float32])]
    for dtype in wrong:
        assert_refused(case, f"^{name} must (be|have the dtype)", **{name: case.tensors[name].to(dtype)})


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_shape(spec: Spec, name: str, device: Device) -> None:
    case = samples(spec, device=device.tensors)
    value = case.tensors[name]
    if name in ("user_factors", "item_factors"):
        assert_refused(case, "^item_factors must have as many columns as user_factors", **{name: value[:, :2]})
    elif name == "users":
        assert_refused(case, "^items must have the shape of users", users=value[:-1])
    elif name != "offset":
        assert_refused(case, f"^{name} must have (the )?shape", **{name: value[:-1]})
    if name in COLUMNS:
        assert_refused(case, f"^{name} must have the shape of users", **{name: value[:1]})
    assert_refused(case, f"^{name} must have", **{name: value.unsqueeze(0)})


@pytest.mark.parametrize(("spec", "name"), ARGUMENTS, ids=IDS)
def test_device(spec: Spec, name: str, device: Device) -> None:
    case = samples(spec, device=device.tensors)
    named = "item_factors" if name == "user_factors" else name
    match = f"^{named} must be on the device of user_factors"
    assert_refused(case, match, **{name: case.tensors[name].to("meta")})


@pytest.mark.parametrize("name", ["users", "items"])
@pytest.mark.parametrize("bad", [-1, 99, 2**40])
def test_index_out_of_range(name: str, bad: int, device: Device) -> None:
    case = samples(EVERYTHING, 7000, device=device.tensors)
    indices = case.tensors[name].clone()
    indices[[6900, 6999]] = bad
    got = str(bad) if device.name == "cpu" else "another index"
    match = rf"^{name} must be in \[0, {5 if name == 'users' else 6}\), got {got} at position 6900$"
    assert_refused(case, match, IndexError, **{name: indices})


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"loss": "huber"}, "^loss must be 'mse', 'mae', 'bce', 'exposure' or 'relmf', got 'huber'"),
    ({"reduction": "none"}, "^reduction must be 'mean' or 'sum', got 'none'"),
    ({"offset": "text"}, "^offset must be a number or a 0-d tensor"),
    ({"loss": "exposure"}, "^exposures must be given for the loss 'exposure'"),
]


@pytest.mark.parametrize(("options", "match"), OPTIONS, ids=[str(options) for options, _ in OPTIONS])
def test_option(options: dict[str, Any], match: str, device: Device) -> None:
    assert_refused(samples(EVERYTHING, device=device.tensors), match, **options)


def test_columns_that_the_loss_does_not_take(device: Device) -> None:
    case = samples(CLICKS, device=device.tensors)
    assert_refused(case, "^exposures must be None for the loss 'mse'", loss="mse")
    targets = case.tensors["targets"]
    assert_refused(case, "^pseudo_targets must be None for the loss 'exposure'", pseudo_targets=targets)


@pytest.mark.parametrize("spec", [CLICKS, RELMF], ids=str)
@pytest.mark.parametrize("bad", [-0.1, 1.1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["targets", "exposures"])
def test_click_or_exposure_outside_its_range(spec: Spec, bad: float, name: str, device: Device) -> None:
    case = samples(spec, 3000, dtype=torch.float32, device=device.tensors)
    case.tensors[name][[2500, 2999]] = bad
    where = r"got \S+ at row 2500$" if device.name == "cpu" else "got other values$"
    with pytest.raises(ValueError, match=rf"^{name} must be in .*, {where}"):
        case.fused()


def test_exposure_zero(device: Device) -> None:
    for spec, click, legal in ((CLICKS, 0.0, True), (CLICKS, 0.5, False), (RELMF, 0.0, False)):
        case = samples(spec, device=device.tensors)
        case.tensors["exposures"][4], case.tensors["targets"][4] = 0.0, click
        if legal:
            assert case.fused().isfinite()
            continue
        with pytest.raises(ValueError, match=r"^exposures must be in"):
            case.fused()


def test_values_are_not_checked_on_cuda_when_the_caller_says_so(device: Device) -> None:
    case = samples(EVERYTHING, device=device.tensors)
    case.tensors["users"][2] = 99
    clicks = samples(CLICKS, device=device.tensors)
    clicks.tensors["exposures"][3] = float("nan")
    if device.name == "cpu":
        with pytest.raises(IndexError, match=r"^users must be in"):
            case.fused(validate=False)
        with pytest.raises(ValueError, match=r"^exposures must be in"):
            clicks.fused(validate=False)
        return
    leaf = case.leaves()["item_factors"]
    assert case.fused(item_factors=leaf, validate=False).isnan()
    assert clicks.fused(validate=False).isnan()
