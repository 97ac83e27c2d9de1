"""`block_loss` on a block of users and items, against the published recipe, full matrices, and Gram matrices in torch.

The recipe of the published programs lists every pair of the block and gathers the rows of each pair from the tables.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext import ConstantTarget, DRTarget, FactorTables, InterDTarget, block_loss, reference
from debias_ext.reference.block_loss import all_scores

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import BLOCK_ITEMS, BLOCK_USERS, FACTORS, GRAM, PUBLISHED

PAIRS_PER_USER = 50 / 3
GAMMA, BETA = -1.25, 0.01
MATRIX = "full matrices"


class Block:
    """A student and two other models, distinct rated pairs in random order, and weights that factorise."""

    def __init__(self, users: int, settings: Settings) -> None:
        self.place = {"generator": settings.generator(), "device": settings.device}
        items, pairs = settings.scaled(BLOCK_ITEMS), round(users * PAIRS_PER_USER * settings.scale)
        self.student, self.first, self.second = (self.tables(users, items) for _ in range(3))
        for table in self.student:
            table.requires_grad_()
        flat = torch.randperm(users * items, **self.place)[:pairs]
        self.rows, self.columns = flat // items, flat % items
        self.targets = torch.randn(pairs, **self.place).sign_()
        self.weights = (1 + torch.rand(pairs, **self.place)).requires_grad_()
        self.user_weight, self.item_weight = (
            (0.5 + torch.rand(size, **self.place)).requires_grad_() for size in (users, items)
        )
        self.value = torch.tensor(-0.2, device=settings.device, requires_grad=True)
        self.missing = torch.ones(users, items, dtype=torch.bool, device=settings.device)
        self.missing[self.rows, self.columns] = False

    def tables(self, users: int, items: int) -> FactorTables:
        sizes = ((users, FACTORS), (items, FACTORS), (users,), (items,))
        return FactorTables(*(0.3 * torch.randn(size, **self.place) for size in sizes))

    def fused(self, unobserved: ConstantTarget | DRTarget | InterDTarget, weights: Tensor) -> Tensor:
        user_factors, item_factors, user_bias, item_bias = self.student
        rated = (self.rows, self.columns, self.targets, weights)
        biases = {"user_bias": user_bias, "item_bias": item_bias}
        return block_loss(user_factors, item_factors, **biases, rated=rated, unobserved=unobserved)

    def pair_scores(self, tables: FactorTables, rows: Tensor, columns: Tensor) -> Tensor:
        p, q, a, b = tables
        dots = (F.embedding(rows, p) * F.embedding(columns, q)).sum(1)
        return dots + F.embedding(rows, a[:, None]).squeeze(1) + F.embedding(columns, b[:, None]).squeeze(1)

    def rated_loss(self, weights: Tensor) -> Tensor:
        return (weights * (self.pair_scores(self.student, self.rows, self.columns) - self.targets).square()).sum()

    def bytes_moved(self, models: int, gradients: int) -> int:
        tables = sum(table.nbytes for table in self.student)
        pairs = self.rows.nbytes + self.columns.nbytes + self.targets.nbytes + self.weights.nbytes
        return (models + gradients) * tables + pairs


def with_gradients(loss: Callable[[], Tensor], wanted: tuple[Tensor, ...]) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        value = loss()
        return [value.detach(), *torch.autograd.grad(value, wanted)]

    return run


def interd_target(scores: Tensor, biased: Tensor, debiased: Tensor) -> Tensor:
    with torch.no_grad():
        biased_loss, debiased_loss = (biased - scores).square() + 1e-8, (debiased - scores).square() + 1e-8
        weight = torch.sigmoid(GAMMA * (biased_loss / debiased_loss).log())
        return weight * biased + (1 - weight) * debiased


def interd(rows: int, settings: Settings) -> Case:
    block = Block(rows, settings)
    unobserved = InterDTarget(block.first, block.second, GAMMA, BETA)
    weights = block.weights.detach()
    users, items = block.missing.shape
    every_user = torch.arange(users, device=settings.device).repeat_interleave(items)
    every_item = torch.arange(items, device=settings.device).repeat(users)

    def imputed(score: Callable[[FactorTables], Tensor], missing: Tensor) -> Tensor:
        scores = score(block.student)
        target = interd_target(scores, score(block.first), score(block.second))
        return BETA * ((scores - target).square() * missing).sum()

    def recipe() -> Tensor:
        missing = block.missing[every_user, every_item]
        return block.rated_loss(weights) + imputed(lambda t: block.pair_scores(t, every_user, every_item), missing)

    def matrices() -> list[Tensor]:
        """Without autograd where the matrices are, and in place: the fastest that we could write in torch."""
        p, q, a, b = (table.detach() for table in block.student)
        scores, biased, debiased = (all_scores(FactorTables(*t)) for t in ((p, q, a, b), block.first, block.second))
        logit = (biased - scores).square_().add_(1e-8).div_((debiased - scores).square_().add_(1e-8)).log_()
        target = torch.lerp(debiased, biased, logit.mul_(GAMMA).sigmoid_())
        error = scores.sub_(target).mul_(block.missing)
        value, slope = BETA * error.flatten().dot(error.flatten()), error.mul_(2 * BETA)
        loss = block.rated_loss(weights)
        dense = (slope @ q, slope.T @ p, slope.sum(1), slope.sum(0))
        gradients = torch.autograd.grad(loss, block.student)
        return [loss.detach() + value, *(g.add_(more) for g, more in zip(gradients, dense, strict=True))]

    losses = {OURS: lambda: block.fused(unobserved, weights), PUBLISHED: recipe}
    alternatives = {name: with_gradients(loss, block.student) for name, loss in losses.items()}
    return Case({**alternatives, MATRIX: matrices}, bytes_moved=block.bytes_moved(3, 1), rtol=1e-3, atol=1e-4)


def gram_rows(tables: FactorTables, value: Tensor | float) -> tuple[Tensor, Tensor]:
    """[P, a, 1] and [Q, 1, b - value], whose products are the scores minus the value."""
    p, q, a, b = tables
    ones = torch.ones_like(a)[:, None], torch.ones_like(b)[:, None]
    return torch.cat([p, a[:, None], ones[0]], 1), torch.cat([q, ones[1], (b - value)[:, None]], 1)


def constant(rows: int, settings: Settings) -> Case:
    block = Block(rows, settings)
    user_weight, item_weight, value, weights = block.user_weight, block.item_weight, block.value, block.weights
    unobserved = ConstantTarget(value, user_weight, item_weight)

    def gram() -> Tensor:
        x, y = gram_rows(block.student, value)
        return ((x.T * user_weight) @ x * ((y.T * item_weight) @ y)).sum() + block.rated_loss(weights)

    def matrices() -> Tensor:
        scores = all_scores(block.student)
        return user_weight @ (scores - value).square() @ item_weight + block.rated_loss(weights)

    losses = {OURS: lambda: block.fused(unobserved, weights), GRAM: gram, MATRIX: matrices}
    wanted = (*block.student, user_weight, item_weight, value, weights)
    alternatives = {name: with_gradients(loss, wanted) for name, loss in losses.items()}
    return Case(alternatives, bytes_moved=block.bytes_moved(1, 1), rtol=1e-3, atol=1e-4)


def doubly_robust(rows: int, settings: Settings) -> Case:
    block = Block(rows, settings)
    unobserved, weights = DRTarget(block.first), block.weights.detach()

    def rated(scores: Tensor, imputed: Tensor) -> Tensor:
        pseudo = (scores - (scores.detach() + imputed)).square()
        return (weights * ((scores - block.targets).square() - pseudo)).sum()

    def gram() -> Tensor:
        """The all-pairs term's value, and its slope -2 <g, s> with the scores' Gram form."""
        x, y = gram_rows(block.student, 0.0)
        g, h = gram_rows(block.first, 0.0)
        squares = ((g.T @ g) * (h.T @ h)).sum()
        slope = -2 * ((g.T @ x) * (h.T @ y)).sum()
        pairs = (block.pair_scores(tables, block.rows, block.columns) for tables in (block.student, block.first))
        return squares + slope - slope.detach() + rated(*pairs)

    def matrices() -> Tensor:
        biases = {"user_bias": block.student.user_bias, "item_bias": block.student.item_bias}
        pairs = (block.rows, block.columns, block.targets, weights)
        return reference.block_loss(*block.student[:2], **biases, rated=pairs, unobserved=unobserved)

    losses = {OURS: lambda: block.fused(unobserved, weights), GRAM: gram, MATRIX: matrices}
    alternatives = {name: with_gradients(loss, block.student) for name, loss in losses.items()}
    return Case(alternatives, bytes_moved=block.bytes_moved(2, 1), rtol=1e-3, atol=1e-4)


SIZE = "6,000 x 500, d = 10, 100,000 rated pairs"
BENCHMARKS = [
    Benchmark(
        "block_loss_interd",
        f"InterD student step, {SIZE}",
        BLOCK_USERS,
        interd,
        {PUBLISHED: Goal(200, 350), MATRIX: Goal(2, 4)},
    ),
    Benchmark("block_loss_constant", f"AutoDebias inner step, {SIZE}", BLOCK_USERS, constant, {GRAM: Goal(2, 4)}),
    Benchmark("block_loss_dr", f"doubly robust step, {SIZE}", BLOCK_USERS, doubly_robust, {GRAM: Goal(2, 4)}),
]
