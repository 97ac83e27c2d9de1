"""One assumed step of AutoDebias on a block, and the gradients to its weight and imputation models, three ways."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext import additive_weights, lookahead_loss

from ..harness import OURS, Case, Settings
from ._shared import BLOCK_ITEMS, BLOCK_USERS, FACTORS, GRAM, PUBLISHED

UNIFORM = 2_700
LR, L2, LAMBDA = 1e-4, 1.0, 0.5


class Block:
    """A block of users and items with its rated pairs, the uniform pairs, and every model of the method."""

    def __init__(self, rows: int, settings: Settings) -> None:
        place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}
        self.m, self.n = settings.scaled(BLOCK_USERS), settings.scaled(BLOCK_ITEMS)
        pairs = torch.randperm(self.m * self.n, **place)[: min(rows, self.m * self.n // 2)].sort().values
        self.users, self.items = pairs // self.n, pairs % self.n
        self.labels = torch.randint(2, (len(pairs),), **place)
        self.observed = torch.ones_like(self.labels)
        self.ratings = 2.0 * self.labels - 1
        self.uniform = (torch.randint(self.m, (UNIFORM,), **place), torch.randint(self.n, (UNIFORM,), **place))
        self.uniform_ratings = 2.0 * torch.randint(2, (UNIFORM,), **place) - 1

        def table(*shape: int) -> Tensor:
            return 0.1 * torch.randn(*shape, **place)

        self.tables = [table(self.m, FACTORS), table(self.n, FACTORS), table(self.m), table(self.n)]
        self.w1 = [table(self.m), table(self.n), table(2)]
        self.w2 = [table(self.m), table(self.n), table(2)]
        self.imputation = table(3)
        self.leaves = [*self.w1, *self.w2, self.imputation]
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.every_user = torch.arange(self.m, device=settings.device)
        self.every_item = torch.arange(self.n, device=settings.device)

    def results(self, upper: Tensor) -> list[Tensor]:
        return [upper.detach(), *torch.autograd.grad(upper, self.leaves)]


def scores(tables: list[Tensor], users: Tensor, items: Tensor) -> Tensor:
    p, q, a, b = tables
    return (p[users] * q[items]).sum(1) + a[users] + b[items]


def upper_after_step(block: Block, loss: Tensor, tables: list[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, tables, create_graph=True)
    stepped = [table - LR * gradient for table, gradient in zip(tables, gradients, strict=True)]
    return (scores(stepped, *block.uniform) - block.uniform_ratings).square().sum()


def decay(tables: list[Tensor]) -> Tensor:
    return L2 / 2 * (tables[0].square().sum() + tables[1].square().sum())


def published(block: Block) -> Tensor:
    """Every pair of the block by itself: gathers forward, scatters backward, twice."""
    tables = [table.detach().requires_grad_() for table in block.tables]
    every_user = block.every_user.repeat_interleave(block.n)
    every_item = block.every_item.repeat(block.m)
    label = torch.zeros(block.m * block.n, dtype=torch.int64, device=every_user.device)
    label[block.users * block.n + block.items] = block.labels + 1
    a, b, c = block.w1
    w1 = torch.exp((a[block.users] + b[block.items] + c[block.labels]) / 5)
    a, b, c = block.w2
    w2 = torch.exp((a[every_user] + b[every_item] + c[(label > 0).long()]) / 5)
    imputed = torch.tanh(block.imputation[label])
    rated = w1 * (scores(tables, block.users, block.items) - block.ratings).square()
    every = w2 * (scores(tables, every_user, every_item) - imputed).square()
    return upper_after_step(block, rated.sum() + LAMBDA * every.sum() + decay(tables), tables)


def gram(block: Block) -> Tensor:
    """The all-pairs term as the inner product of two Gram matrices, corrected at the rated pairs."""
    tables = [table.detach().requires_grad_() for table in block.tables]
    p, q, a, b = tables
    s = scores(tables, block.users, block.items)
    weight_a, weight_b, weight_c = (torch.exp(table / 5) for table in block.w2)
    value, negative, positive = torch.tanh(block.imputation)
    x = torch.cat((p, a.unsqueeze(1), torch.ones_like(a).unsqueeze(1)), 1)
    y = torch.cat((q, torch.ones_like(b).unsqueeze(1), (b - value).unsqueeze(1)), 1)
    every = weight_c[0] * ((x.T * weight_a) @ x * ((y.T * weight_b) @ y)).sum()
    pair = weight_a[block.users] * weight_b[block.items]
    imputed = (negative + positive) / 2 + (positive - negative) / 2 * block.ratings
    every = every + (pair * (weight_c[1] * (s - imputed).square() - weight_c[0] * (s - value).square())).sum()
    a1, b1, c1 = (torch.exp(table / 5) for table in block.w1)
    rated = a1[block.users] * b1[block.items] * c1[block.labels] * (s - block.ratings).square()
    return upper_after_step(block, rated.sum() + LAMBDA * every + decay(tables), tables)


def fused(block: Block) -> Tensor:
    p, q, a, b = block.tables
    user_weight, item_weight, of_label = (torch.exp(table / 5) for table in block.w2)
    missing, negative, positive = torch.tanh(block.imputation)
    lower = {
        "users": block.users,
        "items": block.items,
        "targets": block.ratings,
        "weights": additive_weights(*block.w1, block.users, block.items, block.labels),
        "reduction": "sum",
        "block": {
            "users": block.every_user,
            "items": block.every_item,
            "user_weight": LAMBDA * of_label[0] * user_weight,
            "item_weight": item_weight,
            "value": missing,
            "weights": LAMBDA * additive_weights(*block.w2, block.users, block.items, block.observed),
            "imputations": (negative + positive) / 2 + (positive - negative) / 2 * block.ratings,
        },
    }
    users, items = block.uniform
    upper = {"users": users, "items": items, "targets": block.uniform_ratings, "reduction": "sum"}
    return lookahead_loss(p, q, lower=lower, upper=upper, lr=LR, l2=L2, user_bias=a, item_bias=b)


def autodebias_case(rows: int, settings: Settings) -> Case:
    block = Block(rows, settings)
    ways = {OURS: fused, PUBLISHED: published, GRAM: gram}
    bytes_moved = 4 * (2 * (block.m + block.n) * (FACTORS + 1) + 10 * len(block.users))
    calls = {name: (lambda way=way: block.results(way(block))) for name, way in ways.items()}
    return Case(calls, bytes_moved=bytes_moved, rtol=2e-3, atol=2e-4)
