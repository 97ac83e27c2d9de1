"""A model with its optimiser and row decay: what one gradient step does."""

from __future__ import annotations

import torch
from torch import Tensor

from debiasrec.models import MatrixFactorization
from debiasrec.training.loader import Batch
from debiasrec.training.optimizer import make_optimizer


class Learner:
    """Applies gradient steps to one factor model.

    Args:
        model: the model that is trained.
        optimizer: "sgd" or "adam".
        lr: learning rate.
        l2: coefficient of half the squared norm of the distinct factor rows of a step; biases are not decayed.
        l2_rows: "touched" decays the rows of the rated pairs, "block" every user and item of the block.
    """

    def __init__(self, model: MatrixFactorization, *, optimizer: str, lr: float, l2: float, l2_rows: str) -> None:
        self.model = model
        self.optimizer = make_optimizer(optimizer, model.tables(), lr)
        self.l2 = l2
        self.l2_rows = l2_rows

    def tensors(self) -> dict[str, Tensor]:
        """Everything a step changes, by name, live: the tables and the state of the optimiser."""
        state = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        return {**self.model.tables(), **state}

    def update(self, loss: Tensor, batch: Batch, *, scale: float = 1.0) -> None:
        """One step down the gradient of loss + scale * l2 / 2 * (squared norms of the distinct rows)."""
        gradients = torch.autograd.grad(loss, list(self.model.tables().values()))
        if self.l2:
            self._decay(gradients, batch, self.l2 * scale)
        self.optimizer.step(gradients)

    @torch.no_grad()
    def _decay(self, gradients: tuple[Tensor, ...], batch: Batch, strength: float) -> None:
        sides = (batch.users, batch.items)
        if self.l2_rows == "block" and batch.block is not None:
            sides = batch.block
        tables = (self.model.user_factors, self.model.item_factors)
        for table, gradient, rows in zip(tables, gradients, sides, strict=False):
            # Flags, not a list of distinct rows: no sort, and elementwise arithmetic does not depend on the threads.
            coefficient = table.new_zeros(len(table), 1).index_fill_(0, rows, strength)
            gradient.add_(coefficient * table)
