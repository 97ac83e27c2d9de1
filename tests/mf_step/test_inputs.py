"""Bad input: an error that names the argument, and nothing is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import Device
from mf_step.problem import Problem, make_problem

from debias_ext import MFOptimizer

COLUMNS = ("targets", "weights", "pseudo_targets")


def refused(problem: Problem, match: str, error: type[Exception] = ValueError, **changes: Any) -> None:
    """Both the step and the epoch raise, and leave the tables, the moments and the count of steps alone."""
    before = {name: table.clone() for name, table in problem.tables().items()}
    state = copy.deepcopy(problem.optimizer.state)
    steps = problem.optimizer.steps
    for call in (problem.step, lambda **more: problem.epoch(batch_size=8, generator_seed=0, epoch=0, **more)):
        with pytest.raises(error, match=match):
            call(**changes)
    assert problem.optimizer.steps == steps
    for name, table in before.items():
        assert torch.equal(problem.tensors[name], table), name
    for name, moment in state.items():
        assert torch.equal(problem.optimizer.state[name], moment), name


@pytest.fixture
def problem(device: Device) -> Problem:
    made = make_problem("lazy_adam", n=12, dtype=torch.float32, device=device.tensors, pseudo_targets=True)
    made.step()
    return made


def test_something_else_than_a_tensor(problem: Problem) -> None:
    for name in problem.tensors:
        refused(problem, f"^{name} must be a torch.Tensor, got list", **{name: [1.0]})
    refused(problem, "^optimizer must be an MFOptimizer, got str", optimizer="adam")


def test_dtypes(problem: Problem) -> None:
    for name in ("user_factors", "item_factors", "user_bias", "item_bias"):
        fresh = MFOptimizer("sgd", 0.1)
        refused(problem, f"^{name} must ", **{name: problem.tensors[name].long()}, optimizer=fresh)
    for name in COLUMNS:
        refused(problem, f"^{name} must have the dtype", **{name: problem.tensors[name].double()})
    refused(problem, "^users must be int32 or int64, got float32", users=problem.tensors["users"].float())
    refused(problem, "^items must have the dtype of users", items=problem.tensors["items"].int())


def test_shapes(problem: Problem) -> None:
    fresh = MFOptimizer("sgd", 0.1)
    for name in (*COLUMNS, "items"):
        refused(problem, f"^{name} must have the shape of users", **{name: problem.tensors[name][:-1]})
        refused(problem, f"^{name} must have the shape of users", **{name: problem.tensors[name].unsqueeze(1)})
    refused(problem, "^users must have 1 dimension", users=problem.tensors["users"].unsqueeze(0))
    refused(problem, "^user_factors must have 2 dim", user_factors=problem.tensors["user_bias"], optimizer=fresh)
    narrow = problem.tensors["item_factors"][:, :3].contiguous()
    refused(problem, "^item_factors must have as many columns", item_factors=narrow, optimizer=fresh)
    for name in ("user_bias", "item_bias"):
        refused(problem, rf"^{name} must have shape \[", **{name: torch.zeros(3)}, optimizer=fresh)


def test_indices_out_of_range(problem: Problem) -> None:
    for name, rows in (("users", 40), ("items", 17)):
        for bad in (-1, rows, 2**40):
            index = problem.tensors[name].clone()
            index[7] = bad
            refused(problem, rf"^{name} must be in \[0, {rows}\), got .* at position 7", IndexError, **{name: index})


def test_options(problem: Problem) -> None:
    refused(problem, "^loss must be .*, got 'huber'", loss="huber")
    refused(problem, "^reduction must be 'sum' or 'mean', got 'none'", reduction="none")
    refused(problem, "^l2_rows must be 'touched' or 'all', got 'some'", l2_rows="some")
    refused(problem, "^l2 must be finite and not negative, got -1", l2=-1.0)
    refused(problem, "^l2 must be finite and not negative, got nan", l2=float("nan"))
    problem.optimizer.lr = -1.0
    refused(problem, "^lr must be finite and not negative, got -1")
    problem.optimizer.lr = True
    refused(problem, "^lr must be a number, got bool")


def test_exposures(device: Device) -> None:
    for loss in ("exposure", "relmf"):
        problem = make_problem("sgd", n=12, dtype=torch.float32, device=device.tensors, loss=loss)
        refused(problem, f"^exposures must be given for the loss '{loss}'", exposures=None)
        refused(problem, f"^pseudo_targets must be None .*'{loss}'", pseudo_targets=problem.tensors["targets"])
        for name, bad, match in (
            ("exposures", 1.5, r"^exposures must be in [\[(]0, 1\]"),
            ("exposures", torch.nan, r"^exposures must be in [\[(]0, 1\]"),
            ("targets", 2.0, r"^targets must be in \[0, 1\], the clicks"),
        ):
            column = problem.tensors[name].clone()
            column[7] = bad
            refused(problem, match, **{name: column})
    plain = make_problem("sgd", n=12, dtype=torch.float32, device=device.tensors)
    refused(plain, "^exposures must be None for the loss 'mse'", exposures=plain.tensors["targets"])


def test_epoch_options(problem: Problem) -> None:
    good = {"batch_size": 5, "generator_seed": 0, "epoch": 0}
    for name, bad, match in (
        ("batch_size", 0, "must be at least 1, got 0"),
        ("batch_size", 1.5, r"must be an integer, got 1\.5"),
        ("start", True, "must be an integer, got True"),
        ("stop", 2.0, r"must be an integer, got 2\.0"),
    ):
        with pytest.raises(ValueError, match=f"^{name} {match}"):
            problem.epoch(**{**good, name: bad})
    for start, stop in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match=r"^start and stop must satisfy 0 <= start <= stop <= 3"):
            problem.epoch(**good, start=start, stop=stop)


def test_overlapping_tables(problem: Problem) -> None:
    both = torch.zeros(40, 10, device=problem.tensors["users"].device)
    refused(problem, "must not overlap", user_factors=both, item_factors=both[5:22], optimizer=MFOptimizer("sgd", 0.1))


def test_moments_of_other_tables(problem: Problem) -> None:
    table = problem.tensors["user_factors"]
    grown = torch.zeros(41, 10, device=table.device)
    refused(problem, "^optimizer holds the moments of a user_factors of another shape", user_factors=grown)
    match = "user_factors.first must be .*, torch.float64 .*, got .*, torch.float32"
    refused(problem, match, user_factors=table.double())


def test_unchecked_samples_out_of_range_are_left_out(emulated_ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import call_emulated_kernels

    call_emulated_kernels(emulated_ops, monkeypatch)
    kept, spoilt = (make_problem("sgd", n=12, bias=True) for _ in range(2))
    for name, bad in (("users", 40), ("items", -1)):
        index = spoilt.tensors[name].clone()
        index[3 if name == "users" else 5] = bad
        spoilt.tensors[name] = index
    mask = torch.ones(12, dtype=torch.bool)
    mask[[3, 5]] = False
    columns = {name: kept.tensors[name][mask] for name in ("users", "items", "targets", "weights")}
    assert float(spoilt.step(validate=False)) == pytest.approx(float(kept.step(**columns)), rel=1e-14)
    for name, table in kept.tables().items():
        torch.testing.assert_close(spoilt.tensors[name], table, rtol=1e-14, atol=0)


def test_optimizer_options() -> None:
    for arguments, match in (
        ({"kind": "rmsprop"}, "^kind must be one of 'sgd', 'adagrad'"),
        ({"lr": -0.1}, "^lr must be finite and not negative, got -0.1"),
        ({"lr": float("inf")}, "^lr must be finite and not negative, got inf"),
        ({"lr": True}, "^lr must be a number, got bool"),
        ({"lr": "0.1"}, "^lr must be a number, got str"),
        ({"eps": -1.0}, "^eps must be finite and not negative"),
        ({"initial_accumulator": -1.0}, "^initial_accumulator must be finite and not negative"),
        ({"betas": (0.9, 1.0)}, r"^betas must be in \[0, 1\), got 1\.0"),
        ({"betas": (0.9,)}, r"^betas must be two numbers in \[0, 1\), got \(0\.9,\)"),
        ({"betas": 0.9}, r"^betas must be two numbers in \[0, 1\), got 0\.9"),
        ({"betas": (False, 0.9)}, "^betas must be a number, got bool"),
    ):
        with pytest.raises(ValueError, match=match):
            MFOptimizer(**{"kind": "adam", "lr": 0.1, **arguments})
    assert MFOptimizer("adagrad", 0.1).eps == 1e-10
    assert MFOptimizer("adam", 0.1).eps == 1e-8
