"""Optimisers whose every operation is correctly rounded.

Only add, subtract, multiply, divide and square root occur, one per pass: each is correctly rounded in IEEE arithmetic,
so the result does not depend on how a kernel is vectorised or on how many threads share it. (A fused multiply-add may
serve the vector part of a kernel and not its tail, and the tail moves with the number of threads.)

Gradients may be sparse: the result is that of dense ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class SGD:
    """row -= lr * gradient."""

    def __init__(self, tables: Mapping[str, Tensor], lr: float) -> None:
        self.tables = list(tables.values())
        self.lr = lr

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's own state by name: none."""
        return {}

    @torch.no_grad()
    def step(self, gradients: Iterable[Tensor]) -> None:
        """Apply one step; the gradients (one per table, in order) are overwritten."""
        for table, gradient in zip(self.tables, gradients, strict=True):
            table.sub_(dense(gradient).mul_(self.lr))


class Adam:
    """Dense Adam: the moments of rows without a gradient decay too.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.
    """

    def __init__(
        self, tables: Mapping[str, Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.tables = list(tables.values())
        self.names = list(tables)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.steps = torch.zeros((), dtype=torch.int64)
        self.first = [torch.zeros_like(table, requires_grad=False) for table in self.tables]
        self.second = [torch.zeros_like(table, requires_grad=False) for table in self.tables]
        # Kept: fresh memory of the size of a table costs more in page faults than the arithmetic.
        self.scratch = [torch.empty_like(table, requires_grad=False) for table in self.tables]

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's own state by name, live."""
        state = {"steps": self.steps}
        for name, first, second in zip(self.names, self.first, self.second, strict=True):
            state[f"{name}.first"], state[f"{name}.second"] = first, second
        return state

    @torch.no_grad()
    def step(self, gradients: Iterable[Tensor]) -> None:
        """Apply one step; the gradients (one per table, in order) are overwritten."""
        self.steps += 1
        steps = int(self.steps)
        beta1, beta2 = self.betas
        rate = self.lr / (1.0 - beta1**steps)
        scale = (1.0 - beta2**steps) ** 0.5
        state = zip(self.tables, gradients, self.first, self.second, self.scratch, strict=True)
        for table, gradient, first, second, scratch in state:
            if gradient.is_sparse:
                rows, values = gradient.coalesce().indices()[0], gradient.coalesce().values()
                first.mul_(beta1).index_add_(0, rows, values * (1.0 - beta1))
                second.mul_(beta2).index_add_(0, rows, values.mul(values).mul_(1.0 - beta2))
            else:
                first.mul_(beta1).add_(torch.mul(gradient, 1.0 - beta1, out=scratch))
                second.mul_(beta2).add_(gradient.mul_(gradient).mul_(1.0 - beta2))
            # 1 / (1 / sqrt): torch.sqrt calls a vendor library, which starts threads for a few thousand elements and
            # does not promise correct rounding. A second moment of 0 still gives 0.
            root = torch.rsqrt(second, out=scratch).reciprocal_()
            denominator = root.div_(scale).add_(self.eps)
            table.sub_(torch.div(first, denominator, out=scratch).mul_(rate))


class Adagrad:
    """v += g^2, row -= lr g / (sqrt(v) + eps); a row without a gradient does not move.

    Source: Duchi, Hazan and Singer, JMLR 2011, figure 1.
    """

    def __init__(self, tables: Mapping[str, Tensor], lr: float, eps: float = 1e-10) -> None:
        self.tables = list(tables.values())
        self.names = list(tables)
        self.lr, self.eps = lr, eps
        self.second = [torch.zeros_like(table, requires_grad=False) for table in self.tables]

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's own state by name, live."""
        return {f"{name}.second": second for name, second in zip(self.names, self.second, strict=True)}

    @torch.no_grad()
    def step(self, gradients: Iterable[Tensor]) -> None:
        """Apply one step; the gradients (one per table, in order) are overwritten."""
        for table, gradient, second in zip(self.tables, gradients, self.second, strict=True):
            own = dense(gradient)
            second.add_(own * own)
            denominator = torch.rsqrt(second).reciprocal_().add_(self.eps)
            table.sub_(own.div_(denominator).mul_(self.lr))


def dense(gradient: Tensor) -> Tensor:
    """A gradient as a dense tensor; a dense one as it is."""
    return gradient.to_dense() if gradient.is_sparse else gradient


Optimizer = SGD | Adam | Adagrad
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adagrad": Adagrad}


def make_optimizer(name: str, tables: Mapping[str, Tensor], lr: float) -> Optimizer:
    """The optimiser called `name`, a key of OPTIMIZERS, over the tables."""
    return OPTIMIZERS[name](tables, lr)
