"""`lookahead_loss` against a double backward through the step: of whole tables, of the touched rows, of a block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from debias_ext import lookahead_loss

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._autodebias import autodebias_case
from ._shared import GRAM, PUBLISHED

TABLE_ROWS, FACTORS, LOWER, UPPER = 100_000, 64, 1_024, 256
N_BATCHES = 16
LR = 0.01
DENSE, SPARSE = "functional_call + create_graph", "touched rows + create_graph"
Side = dict[str, Tensor]


class Scores(nn.Module):
    """Scores from two embedding tables and two bias columns."""

    def __init__(self, users: int, items: int, place: dict[str, Any]) -> None:
        super().__init__()
        self.user_factors = nn.Parameter(0.1 * torch.randn(users, FACTORS, **place))
        self.item_factors = nn.Parameter(0.1 * torch.randn(items, FACTORS, **place))
        self.user_bias = nn.Parameter(0.1 * torch.randn(users, **place))
        self.item_bias = nn.Parameter(0.1 * torch.randn(items, **place))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        products = (self.user_factors[users] * self.item_factors[items]).sum(1)
        return products + self.user_bias[users] + self.item_bias[items]


def squares(scores: Tensor, side: Side) -> Tensor:
    return (side.get("weights", 1.0) * (scores - side["targets"]).square()).sum()


def with_dense_tables(model: Scores, lower: Side, upper: Side) -> Tensor:
    loss = squares(model(lower["users"], lower["items"]), lower)
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    stepped = {name: p - LR * g for (name, p), g in zip(model.named_parameters(), gradients, strict=True)}
    return squares(functional_call(model, stepped, (upper["users"], upper["items"])), upper)


def with_touched_rows(model: Scores, lower: Side, upper: Side) -> Tensor:
    """The tables shrunk to the rows of both batches, and the double backward on these."""
    places = {}
    for key in ("users", "items"):
        rows, place = torch.cat((lower[key], upper[key])).unique(return_inverse=True)
        places[key] = (rows, *place.split((len(lower[key]), len(upper[key]))))
    tables = [model.user_factors, model.item_factors, model.user_bias, model.item_bias]
    keys = ("users", "items", "users", "items")
    rows = [t.detach().index_select(0, places[key][0]).requires_grad_() for t, key in zip(tables, keys, strict=True)]

    def scores(tables: Sequence[Tensor], side: int) -> Tensor:
        p, q, a, b = (t.index_select(0, places[key][side]) for t, key in zip(tables, keys, strict=True))
        return (p * q).sum(1) + a + b

    gradients = torch.autograd.grad(squares(scores(rows, 1), lower), rows, create_graph=True)
    return squares(scores([t - LR * g for t, g in zip(rows, gradients, strict=True)], 2), upper)


def fused(model: Scores, lower: Side, upper: Side) -> Tensor:
    return lookahead_loss(
        model.user_factors,
        model.item_factors,
        lower={**lower, "reduction": "sum"},
        upper={**upper, "reduction": "sum"},
        lr=LR,
        user_bias=model.user_bias,
        item_bias=model.item_bias,
    )


def build(rows: int, settings: Settings) -> Case:
    """Random batches, each call the next one; half of the upper users and a quarter of its items are lower ones."""
    place = {"generator": settings.generator(), "device": settings.device}
    size = settings.scaled(TABLE_ROWS)
    model = Scores(size, size, place)
    batches = deque(batch(rows, size, place) for _ in range(N_BATCHES))

    def hypergradient(loss: Callable[[Scores, Side, Side], Tensor]) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            lower, upper = batches[0]
            value = loss(model, lower, upper)
            return [value.detach(), *torch.autograd.grad(value, lower["weights"])]

        return run

    alternatives = {OURS: fused, DENSE: with_dense_tables, SPARSE: with_touched_rows}
    floats = 2 * (rows // 4 * 3) * FACTORS  # rows of the upper batch, and of the lower ones that meet it
    return Case(
        {name: hypergradient(loss) for name, loss in alternatives.items()},
        bytes_moved=4 * floats,
        before=lambda: batches.rotate(-1),
    )


def batch(rows: int, size: int, place: dict[str, Any]) -> tuple[Side, Side]:
    def side(n: int) -> Side:
        pairs = {key: torch.randint(size, (n,), **place) for key in ("users", "items")}
        return {**pairs, "targets": torch.rand(n, **place)}

    n = max(1, rows * UPPER // LOWER)
    lower, upper = side(rows), side(n)
    lower["weights"] = torch.rand(rows, **place).requires_grad_()
    upper["users"][: n // 2] = lower["users"][: n // 2]
    upper["items"][: n // 4] = lower["items"][-(n // 4) :] if n >= 4 else upper["items"][: n // 4]
    return lower, upper


BENCHMARKS = [
    Benchmark(
        "lookahead_loss",
        "gradient to the weights of 1,024 rows, 256 upper ones, 100k x 100k tables, d = 64",
        LOWER,
        build,
        {DENSE: Goal(100), SPARSE: Goal(5)},
    ),
    Benchmark(
        "lookahead_loss_autodebias",
        "all hypergradients of an AutoDebias step, block 6000 x 500, d = 10",
        100_000,
        autodebias_case,
        {PUBLISHED: Goal(250, 600), GRAM: Goal(2, 4)},
    ),
]
