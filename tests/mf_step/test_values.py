"""The fused step against plain torch in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Device
from mf_step.problem import KINDS, assert_close, make_problem, tolerance_of

OPTIONS: list[dict[str, Any]] = [
    {},
    {"loss": "mae", "reduction": "mean"},
    {"loss": "bce", "l2": 0.1},
    {"loss": "mse", "l2": 0.1, "l2_rows": "all", "decay_bias": True, "reduction": "mean"},
    {"loss": "mse", "l2": 0.2, "l2_rows": "all", "offset": 0.5},
    {"loss": "mse", "pseudo_targets": True, "l2": 0.1, "decay_bias": True},
    {"loss": "bce", "pseudo_targets": True, "weights": False},
    {"loss": "mae", "pseudo_targets": True, "bias": False},
    {"loss": "exposure", "l2": 0.1},
    {"loss": "relmf", "reduction": "mean"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_the_reference(kind: str, options: dict[str, Any], device: Device) -> None:
    problem = make_problem(kind, device=device.tensors, **options)
    expected = problem.reference()
    for _ in range(3):
        value = problem.step()
        assert value.dtype == torch.float64
        assert value.shape == ()
        torch.testing.assert_close(value.cpu(), expected.reference_step(), rtol=1e-11, atol=0)
    assert problem.optimizer.steps == 3
    assert_close(problem.tables(), expected.tables(), 1e-11)
    assert_close(problem.optimizer.state, expected.optimizer.state, 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes(kind: str, device: Device) -> None:
    for dtype in device.floats:
        for index in (torch.int32, torch.int64):
            problem = make_problem(kind, dtype=dtype, index=index, device=device.tensors, l2=0.1, lr=0.1)
            expected = problem.reference()
            value = problem.step()
            torch.testing.assert_close(value.cpu(), expected.reference_step(), rtol=tolerance_of(dtype), atol=0)
            assert_close(problem.tables(), expected.tables(), tolerance_of(dtype))
            assert_close(problem.optimizer.state, expected.optimizer.state, tolerance_of(dtype))
            assert all(moment.dtype != torch.float16 for moment in problem.optimizer.state.values())


@pytest.mark.parametrize("factors", [1, 7, 8, 10, 16, 20, 32, 64, 65])
@pytest.mark.parametrize("kind", ["rowwise_adagrad", "adam"])
def test_numbers_of_factors(kind: str, factors: int, device: Device) -> None:
    problem = make_problem(kind, factors=factors, device=device.tensors)
    expected = problem.reference()
    problem.step()
    expected.reference_step()
    assert_close(problem.tables(), expected.tables(), 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_and_no_row(kind: str, device: Device) -> None:
    for n in (1, 0):
        problem = make_problem(kind, n=n, shape=(1, 1), device=device.tensors)
        expected = problem.reference()
        assert float(problem.step()) == pytest.approx(float(expected.reference_step()))
        assert_close(problem.tables(), expected.tables(), 1e-12)
    assert problem.optimizer.steps == 1
    assert torch.isnan(problem.step(reduction="mean"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_heavy_row(kind: str, device: Device) -> None:
    problem = make_problem(kind, n=700, shape=(3, 900), device=device.tensors, lr=0.001)
    problem.tensors["users"][:600] = 1
    expected = problem.reference()
    problem.step()
    expected.reference_step()
    assert_close(problem.tables(), expected.tables(), 1e-10)


def test_saturated_scores(device: Device) -> None:
    problem = make_problem("sgd", loss="bce", dtype=torch.float32, device=device.tensors, weights=False)
    problem.tensors["user_bias"].copy_(torch.linspace(-60, 60, 40))
    expected = problem.reference()
    value = problem.step()
    torch.testing.assert_close(value.cpu(), expected.reference_step(), rtol=1e-5, atol=0)
    assert_close(problem.tables(), expected.tables(), 1e-5)


def test_zero_gradients_of_a_new_adagrad_change_nothing(device: Device) -> None:
    problem = make_problem("adagrad", device=device.tensors, weights=False)
    problem.optimizer.initial_accumulator = 0.0
    before = {name: table.clone() for name, table in problem.tables().items()}
    problem.step(weights=torch.zeros_like(problem.tensors["targets"]))
    assert_close(problem.tables(), before, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_reaches_the_rows_that_meet_it_and_no_other(kind: str, device: Device) -> None:
    problem = make_problem(kind, n=12, device=device.tensors)
    problem.tensors["targets"][4] = torch.nan
    user, item = int(problem.tensors["users"][4]), int(problem.tensors["items"][4])
    assert torch.isnan(problem.step())
    bad_users = problem.tensors["user_factors"].isnan().any(1).nonzero().flatten().tolist()
    bad_items = problem.tensors["item_factors"].isnan().any(1).nonzero().flatten().tolist()
    assert bad_users == [user]
    assert bad_items == [item]
    assert problem.tensors["user_bias"].isnan().nonzero().flatten().tolist() == [user]


@pytest.mark.parametrize("kind", KINDS)
def test_strides(kind: str, device: Device) -> None:
    plain = make_problem(kind, device=device.tensors, l2=0.1)
    strided = make_problem(kind, device=device.tensors, l2=0.1)
    for name, tensor in strided.tensors.items():
        wide = torch.stack([tensor, torch.ones_like(tensor)], -1)
        strided.tensors[name] = wide[..., 0]
        assert not strided.tensors[name].is_contiguous()
    for _ in range(2):
        assert torch.equal(plain.step(), strided.step())
    assert_close(strided.tables(), plain.tables(), 0.0)
    assert_close(strided.optimizer.state, plain.optimizer.state, 0.0)
