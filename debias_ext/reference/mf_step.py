"""`mf_step_` and `mf_epoch_` in plain torch: autograd, then the optimiser's formulas on the visited rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext.optim import MFOptimizer
from debias_ext.reference.mf_loss import row_loss
from debias_ext.reference.mf_score import mf_score
from debias_ext.reference.optimizer_step import updated


def _update(table: Tensor, gradient: Tensor, visited: Tensor, name: str, optimizer: MFOptimizer) -> None:
    state = (table, *optimizer.moments(name, table))
    p, first, second = (None if tensor is None else tensor[visited] for tensor in state)
    assert p is not None
    options = {name: getattr(optimizer, name) for name in ("kind", "lr", "betas", "eps")}
    after = updated(p, gradient[visited], first, second, step=optimizer.steps + 1, **options)
    for tensor, new in zip(state, after, strict=True):
        if tensor is not None and new is not None:
            tensor[visited] = new


def mf_step_(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    optimizer: MFOptimizer,
    weights: Tensor | None = None,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    offset: float = 0.0,
    loss: str = "mse",
    exposures: Tensor | None = None,
    pseudo_targets: Tensor | None = None,
    l2: float = 0.0,
    l2_rows: str = "touched",
    decay_bias: bool = False,
    reduction: str = "sum",
) -> Tensor:
    given = {
        "user_factors": (user_factors, users),
        "item_factors": (item_factors, items),
        "user_bias": (user_bias, users),
        "item_bias": (item_bias, items),
    }
    tables = {name: (table, index) for name, (table, index) in given.items() if table is not None}
    leaves = {name: table.detach().clone().requires_grad_() for name, (table, _) in tables.items()}
    with torch.enable_grad():
        scores = mf_score(
            leaves["user_factors"],
            leaves["item_factors"],
            users,
            items,
            leaves.get("user_bias"),
            leaves.get("item_bias"),
            offset=offset,
        )
        value = row_loss(scores, targets, weights, exposures, pseudo_targets, loss=loss, reduction=reduction)
        gradients = torch.autograd.grad(value, list(leaves.values()))
    with torch.no_grad():
        for (name, (table, index)), gradient in zip(tables.items(), gradients, strict=True):
            decay = l2 if decay_bias or table.dim() == 2 else 0.0
            touched = torch.zeros(len(table), dtype=torch.bool, device=table.device).index_fill_(0, index.long(), True)
            decayed = touched if l2_rows == "touched" else torch.ones_like(touched)
            gradient[decayed] += decay * table[decayed]
            every = optimizer.kind == "adam" or (l2_rows == "all" and decay != 0)
            _update(table, gradient, torch.ones_like(touched) if every else touched, name, optimizer)
    optimizer.steps += 1
    return value.detach().double()


def mf_epoch_(
    *tables_and_columns: Tensor, order: Tensor, batch_size: int, reduction: str = "sum", **options: Any
) -> Tensor:
    """The loop over `mf_step_`, with its arguments; `order` as `debias_ext.mf_epoch_order` gives it."""
    user_factors, item_factors, *columns = tables_and_columns
    given = {name: options.pop(name, None) for name in ("weights", "exposures", "pseudo_targets")}
    total = user_factors.new_zeros((), dtype=torch.float64)
    for batch in order.split(batch_size):
        users, items, targets = (column[batch] for column in columns)
        chosen: dict[str, Any] = {name: None if column is None else column[batch] for name, column in given.items()}
        value = mf_step_(user_factors, item_factors, users, items, targets, reduction=reduction, **chosen, **options)
        total += value * (len(batch) if reduction == "mean" else 1)
    return total / len(order) if reduction == "mean" else total
