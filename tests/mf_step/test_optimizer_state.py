"""Saving and loading the optimiser, and changes that a user may make between steps."""

from __future__ import annotations

import json

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
