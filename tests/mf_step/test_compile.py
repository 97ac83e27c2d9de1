"""The fused step under torch.library.opcheck and torch.compile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from mf_step.problem import KINDS, assert_close, make_problem

import debias_ext
from debias_ext.ops.mf_step import InPlaceStep


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_operators_pass_opcheck(kind: str, bias: bool) -> None:
    given = make_problem(kind, n=20, bias=bias).tensors
    step = InPlaceStep(
        (given["user_factors"], given["item_factors"], given.get("user_bias"), given.get("item_bias")),
        (given["users"], given["items"], given["targets"], given["weights"], None, None),
        debias_ext.MFOptimizer(kind, 0.1),
        loss="mse",
        reduction="sum",
        offset=0.0,
        l2=0.1,
        l2_rows="touched",
        decay_bias=False,
    )
    rule = (0.1, 0.9, 0.999, 1e-8, 1)
    arguments = (*step.tensors, *step.options, *rule, *step.decay, True)
    torch.library.opcheck(torch.ops.debias_ext.mf_steps_.default, (*arguments, None, 0, 0, 0))
    order = debias_ext.mf_epoch_order(20, 0, 0)
    torch.library.opcheck(torch.ops.debias_ext.mf_steps_.default, (*arguments, order, 8, 0, 3))
    torch.library.opcheck(torch.ops.debias_ext.mf_epoch_order.default, (torch.empty(0), 20, 0, 0))


def test_a_compiled_step_is_the_eager_step() -> None:
    eager, compiled = make_problem("lazy_adam"), make_problem("lazy_adam")
    for problem in (eager, compiled):
        problem.step()  # makes the moments
    step = torch.compile(lambda: compiled.step() * 2, backend="aot_eager", fullgraph=True)
    for _ in range(3):
        torch.testing.assert_close(step(), eager.step() * 2)
    assert compiled.optimizer.steps == 4
    assert_close(compiled.tables(), eager.tables(), 0.0)


def test_transforms_are_refused() -> None:
    problem = make_problem("sgd", bias=False)
    with pytest.raises(RuntimeError, match="has no derivative"):
        torch.func.grad(lambda table: problem.step(user_factors=table))(problem.tensors["user_factors"])
