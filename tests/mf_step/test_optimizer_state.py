"""Saving and loading the optimiser, and changes that a user may make between steps."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import safetensors.torch
import torch
from mf_step.problem import KINDS, assert_close, make_problem

from debias_ext import MFOptimizer


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_optimizer_goes_on_to_the_same_bits(kind: str) -> None:
    straight, resumed = make_problem(kind), make_problem(kind)
    for _ in range(2):
        straight.step()
        resumed.step()
    saved = resumed.optimizer.state_dict()
    tensors, options = saved.pop("state"), json.dumps(saved)
    file = safetensors.torch.save(tensors)
    resumed.optimizer = MFOptimizer(kind, lr=7.0)
    resumed.optimizer.load_state_dict({**json.loads(options), "state": safetensors.torch.load(file)})
    assert resumed.optimizer.steps == 2
    for _ in range(2):
        straight.step()
        resumed.step()
    assert_close(resumed.tables(), straight.tables(), 0.0)
    assert_close(resumed.optimizer.state, straight.optimizer.state, 0.0)


def test_loading_copies() -> None:
    problem = make_problem("adagrad")
    problem.step()
    other = MFOptimizer("adagrad", 0.1)
    other.load_state_dict(problem.optimizer.state_dict())
    before = other.state["user_factors.second"].clone()
    problem.step()
    assert torch.equal(other.state["user_factors.second"], before)


def test_loading_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^state_dict must be of kind 'adam', got 'sgd'"):
        MFOptimizer("adam", 0.1).load_state_dict(MFOptimizer("sgd", 0.1).state_dict())


STATES = [
    (lambda d: d.pop("eps"), "^state_dict must hold 'eps'"),
    (lambda d: d.update(momentum=0.9), "^state_dict has an unknown key 'momentum'"),
    (lambda d: d.update(lr=-1.0), "^lr must be finite and not negative, got -1.0"),
    (lambda d: d.update(betas=[0.9, 1.0]), r"^betas must be in \[0, 1\), got 1.0"),
    (lambda d: d.update(steps=-1), "^steps must be at least 0, got -1"),
    (lambda d: d.update(steps=1.5), "^steps must be an integer, got 1.5"),
    (lambda d: d.update(state=[]), r"^state_dict\['state'\] must be a dict, got list"),
    (lambda d: d["state"].update(user_factor=torch.zeros(3)), "has an unknown key 'user_factor'"),
    (lambda d: d["state"].pop("item_bias.second"), r"^state_dict\['state'\] must hold 'item_bias.second'"),
    (lambda d: d["state"].update({"user_bias.first": 0.0}), r"\['user_bias.first'\] must be a torch.Tensor, got float"),
    (
        lambda d: d["state"].update({"user_bias.second": 0.0}),
        r"\['user_bias.second'\] must be a torch.Tensor, got float",
    ),
    (lambda d: d["state"].update({"user_bias.first": torch.zeros(40, 1)}), r"must have 1 dimension\(s\), got shape"),
    (lambda d: d["state"].update({"user_bias.first": torch.zeros(40).int()}), "must be float32 or float64, got"),
    (lambda d: d["state"].update({"user_bias.first": torch.zeros(40)}), r"\[40\], torch.float64, got .* torch.float32"),
    (lambda d: d["state"].update({"user_bias.first": torch.zeros(3).double()}), r"must be \[40\], .*, got \[3\]"),
]


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("change", "match"), STATES, ids=[match[:45] for _, match in STATES])
def test_a_bad_state_is_refused_and_changes_nothing(change: Any, match: str, fresh: bool) -> None:
    problem = make_problem("adam")
    problem.step()
    saved = problem.optimizer.state_dict()
    change(saved)
    optimizer = MFOptimizer("adam", 7.0) if fresh else problem.optimizer
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=match):
        optimizer.load_state_dict(saved)
    after = optimizer.state_dict()
    assert_close(after.pop("state"), before.pop("state"), 0.0)
    assert after == before


def test_moments_of_other_tables_are_not_loaded() -> None:
    small, large = make_problem("adagrad", shape=(40, 17)), make_problem("adagrad", shape=(41, 17))
    small.step()
    large.step()
    with pytest.raises(ValueError, match=r"\['user_factors.second'\] must be \[40, 10\], .*, got \[41, 10\]"):
        small.optimizer.load_state_dict(large.optimizer.state_dict())


def test_the_learning_rate_may_change() -> None:
    problem = make_problem("adagrad")
    expected = problem.reference()
    for lr in (0.1, 0.01):
        problem.optimizer.lr = expected.optimizer.lr = lr
        problem.step()
        expected.reference_step()
    assert_close(problem.tables(), expected.tables(), 1e-12)


def test_parameters_change_under_autograds_eyes() -> None:
    """Tables that require a gradient are changed, and a graph made before the step refuses to run backward."""
    problem = make_problem("sgd", bias=False)
    for name in ("user_factors", "item_factors"):
        problem.tensors[name].requires_grad_()
    before = problem.tensors["user_factors"].detach().clone()
    value = (problem.tensors["user_factors"].square()).sum()
    loss = problem.step()
    assert not loss.requires_grad
    assert not torch.equal(problem.tensors["user_factors"].detach(), before)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()
