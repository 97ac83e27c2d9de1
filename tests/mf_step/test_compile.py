"""The fused step under torch.library.opcheck and torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mf_step.problem import KINDS, Problem, assert_close, make_problem
from torch import Tensor

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


CALLS: dict[str, Callable[[Problem, int], Tensor]] = {
    "mf_step_": lambda problem, _: problem.step(),
    "mf_epoch_": lambda problem, k: problem.epoch(batch_size=8, generator_seed=0, epoch=k),
}


@pytest.mark.parametrize("name", CALLS)
def test_compiled_code_calls_it_between_its_graphs_and_is_not_compiled_again(name: str) -> None:
    eager, compiled = make_problem("lazy_adam"), make_problem("lazy_adam")
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    call = torch.compile(lambda x, k: CALLS[name](compiled, k) * 2 * torch.sin(x), backend=backend)
    one = torch.ones(())
    for k in range(12):
        compiled.optimizer.lr = eager.optimizer.lr = 0.1 / (k + 1)
        torch.testing.assert_close(call(one, k), CALLS[name](eager, k) * 2 * torch.sin(one))
    assert compiled.optimizer.steps == eager.optimizer.steps
    assert_close(compiled.tables(), eager.tables(), 0.0)
    assert 1 <= len(graphs) <= 3


@pytest.mark.parametrize("name", CALLS)
def test_a_whole_graph_is_refused_with_the_reason(name: str) -> None:
    problem = make_problem("sgd")
    call = torch.compile(lambda: CALLS[name](problem, 0) * 2, backend="aot_eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="counts its steps in Python: call it outside"):
        call()
    assert problem.optimizer.steps == 0


def test_transforms_are_refused() -> None:
    problem = make_problem("sgd", bias=False)
    with pytest.raises(RuntimeError, match="has no derivative"):
        torch.func.grad(lambda table: problem.step(user_factors=table))(problem.tensors["user_factors"])
