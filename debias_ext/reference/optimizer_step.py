"""`optimizer_step_` in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from debias_ext.optim import EPS


def updated(
    p: Tensor,
    g: Tensor,
    first: Tensor | None,
    second: Tensor | None,
    *,
    kind: str,
    lr: float,
    betas: tuple[float, float],
    eps: float | None,
    step: int,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Parameters and moments after a step with the gradient g; see `debias_ext.MFOptimizer`."""
    if kind == "sgd":
        return p - lr * g, None, None
    assert second is not None
    assert eps is not None
    if "adagrad" in kind:
        by_row = kind == "rowwise_adagrad" and g.dim() == 2
        second = second + (g.square().sum(1) / max(1, g.shape[1]) if by_row else g.square())
        root = second.sqrt() + eps
        return p - lr * g / (root.unsqueeze(1) if by_row else root), None, second
    assert first is not None
    b1, b2 = betas
    first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g.square()
    c1, c2 = 1 - b1**step, 1 - b2**step
    if kind == "adam":
        return p - lr / c1 * first / ((second / c2).sqrt() + eps), first, second
    return p - lr * c2**0.5 / c1 * first / (second.sqrt() + eps), first, second


@torch.no_grad()
def optimizer_step_(
    tables: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    kind: str,
    lr: float,
    first: Sequence[Tensor] = (),
    second: Sequence[Tensor] = (),
    step: int = 1,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float | None = None,
    weight_decay: float = 0.0,
) -> None:
    eps = EPS[kind] if eps is None else eps
    for k, (table, gradient) in enumerate(zip(tables, gradients, strict=True)):
        g = gradient.to_dense() + weight_decay * table
        state = (table, first[k] if first else None, second[k] if second else None)
        after = updated(table, g, *state[1:], kind=kind, lr=lr, betas=betas, eps=eps, step=step)
        for old, new in zip(state, after, strict=True):
            if old is not None and new is not None:
                old.copy_(new)
