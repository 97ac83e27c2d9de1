"""The fused step against torch's own optimisers over autograd's gradients, their state included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Device
from mf_step.problem import Problem, assert_close, make_problem
from torch import Tensor

LR = 0.05
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any], bool]] = {
    "sgd": (torch.optim.SGD, {}, False),
    "adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1}, True),
    "lazy_adam": (torch.optim.SparseAdam, {}, True),
    "adam": (torch.optim.Adam, {}, False),
}
MOMENTS = {"sum": "second", "exp_avg": "first", "exp_avg_sq": "second"}


def torch_steps(problem: Problem, kind: str, steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tables and the optimiser's state after some steps of plain torch."""
    optimizer_class, options, sparse = OPTIMIZERS[kind]
    given = problem.tensors
    # Embeddings give sparse gradients to matrices: a bias is a matrix of one column.
    tables = {
        name: (table if table.dim() == 2 else table.unsqueeze(1)).clone().requires_grad_()
        for name, table in problem.tables().items()
    }
    optimizer = optimizer_class(tables.values(), lr=LR, **options)
    for _ in range(steps):
        p, a = (F.embedding(given["users"], tables[name], sparse=sparse) for name in ("user_factors", "user_bias"))
        q, b = (F.embedding(given["items"], tables[name], sparse=sparse) for name in ("item_factors", "item_bias"))
        scores = (p * q).sum(1) + a.squeeze(1) + b.squeeze(1)
        optimizer.zero_grad()
        (given["weights"] * (scores - given["targets"]).square()).sum().backward()
        optimizer.step()
    state = {
        f"{name}.{MOMENTS[key]}": value.reshape(problem.tensors[name].shape)
        for name, table in tables.items()
        for key, value in optimizer.state[table].items()
        if key in MOMENTS
    }
    return {name: table.reshape(problem.tensors[name].shape) for name, table in tables.items()}, state


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_steps_equal_torch(kind: str, dtype: torch.dtype, tolerance: float, device: Device) -> None:
    problem = make_problem(kind, dtype=dtype, device=device.tensors, lr=LR if kind != "sgd" else 0.01)
    problem.optimizer.lr = LR
    for name in ("user_factors", "item_factors"):
        problem.tensors[name].mul_(0.3)
    problem.tensors["weights"].mul_(0.1)
    tables, state = torch_steps(problem, kind, 5)
    for _ in range(5):
        problem.step()
    assert_close(problem.tables(), tables, tolerance)
    assert_close(problem.optimizer.state, state, tolerance)
