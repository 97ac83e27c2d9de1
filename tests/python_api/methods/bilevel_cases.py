"""Bi-level methods before their first step in float64, and their step written out."""

from __future__ import annotations

import torch

from debiasrec import methods
from debiasrec.training import TableLearner

SIZES = {"factors": 3, "lr": 0.05, "l2": 0.4, "max_epochs": 1, "batching": "block"}


def started(name, split, **options):
    """The method before its first step with every model in float64, random and not small, and its first batch."""
    method = methods.make(name, **{**SIZES, "user_block": 50, "item_block": 40, **options})
    loader = method._start(split, "cpu")
    generator = torch.Generator().manual_seed(5)
    for learner in method.learners_.values():
        tables = learner.tables if isinstance(learner, TableLearner) else learner.model.tables()
        for table in tables.values():
            table.data = 0.5 * torch.randn(table.shape, generator=generator, dtype=torch.float64)
        as_float64(learner)
    for columns in (loader.columns, method.upper_):
        columns.update({key: value.double() for key, value in columns.items() if value.is_floating_point()})
    method.begin_epoch(1_000)
    return method, next(loader.epoch(1))


def as_float64(learner):
    """Moments have the type of their tables."""
    for tensor in learner.tensors().values():
        tensor.data = tensor.double() if tensor.is_floating_point() else tensor


def scores(tables, users, items):
    p, q, a, b = tables
    return (p[users] * q[items]).sum(1) + a[users] + b[items]


def rated_on_average(method, batch):
    """The rated pairs of a flat batch, or of a block with the average density."""
    if batch.block is None:
        return len(batch)
    users, items = method.n_users_, method.n_items_
    return method.n_rows_ * (len(batch.block[0]) / users) * (len(batch.block[1]) / items)


def l2_scale(method, batch):
    """L2 relative to a mean: over the number of rated pairs, times their mean weight; in a whole block, with weight 1
    and as many as there are on average."""
    if method.reduction == "sum":
        return 1.0
    if "autodebias" in method.name or method.name == "bal_dr":
        return 1.0 / rated_on_average(method, batch)
    start = 0.001 + 0.999 * torch.tensor(method.propensity_.offset).sigmoid() if method.name == "bal_ips" else 1.0
    return float(1.0 / start) / len(batch)


def after_a_step(method, batch, lower_of, decayed):
    """The upper loss at theta', in the graph of what `lower_of(tables)` is made of."""
    tables = [table.detach().clone().requires_grad_() for table in method.model_.tables().values()]
    users, items = decayed
    norm = tables[0][users.unique()].square().sum() + tables[1][items.unique()].square().sum()
    loss = lower_of(tables) + l2_scale(method, batch) * method.l2 / 2 * norm
    gradients = torch.autograd.grad(loss, tables, create_graph=True)
    stepped = [table - method.lr * gradient for table, gradient in zip(tables, gradients, strict=True)]
    upper = method.upper_
    return (scores(stepped, upper["users"], upper["items"]) - upper["targets"]).square().sum()


def assert_same_gradients(method, batch, expected, leaves):
    got = method.upper_loss(batch)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    for a, b in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), strict=True):
        assert bool(b.any())
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(b.abs().max())))


def grid_of(batch):
    users, items = batch.block
    return users.repeat_interleave(len(items)), items.repeat(len(users))


def exponential(model, users, items, labels):
    return ((model.user_table[users] + model.item_table[items] + model.label_table[labels]) / 5).exp()


def autodebias_lower(method, batch):
    """The lower loss of AutoDebias with every pair of the block enumerated."""
    users, items = grid_of(batch)
    key = method.n_items_ * users + items
    label = torch.zeros(method.n_users_ * method.n_items_, dtype=torch.int64)
    label[method.n_items_ * batch.users + batch.items] = batch["labels"] + 1
    label = label[key]
    low, high = {"signed": (-1.0, 1.0), "binary": (0.0, 1.0), "stars": (1.0, 5.0)}[method.target]
    values = (low + high) / 2 + (high - low) / 2 * torch.tanh(method.imputation_)
    share = 1.0 if method.reduction == "sum" else 1.0 / rated_on_average(method, batch)

    def lower(tables):
        rated = scores(tables, batch.users, batch.items) + method.offset_ - batch["targets"]
        every = scores(tables, users, items) + method.offset_ - values[label]
        w1 = exponential(method.w1_, batch.users, batch.items, batch["labels"])
        w2 = exponential(method.w2_, users, items, (label > 0).long())
        return share * ((w1 * rated.square()).sum() + method.imputation_weight * (w2 * every.square()).sum())

    return lower
