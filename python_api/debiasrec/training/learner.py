"""A model with its optimiser and row decay: what one gradient step does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import debias_ext
from debiasrec.models import MatrixFactorization, Model
from debiasrec.training.loader import Batch, FlatLoader
from debiasrec.training.optimizer import make_optimizer


class RowLearner:
    """Fits one factor model to weighted targets of pairs, by fused steps; by default on the sum of w (s - t)^2.

    Args:
        model: the model that is trained.
        optimizer: "sgd", "adam" or "adagrad".
        lr: learning rate.
        l2: coefficient of half the squared norm of the distinct factor rows of a step; biases are not decayed.
        l2_rows: "touched" decays the rows of the rated pairs, "block" every user and item of the block.
        reduction: "sum" or "mean" of the weighted errors of a step.
        loss: of a pair, as in `debias_ext.mf_step_`; for "exposure" and "relmf" the column "exposures" is read too.
    """

    def __init__(
        self,
        model: MatrixFactorization,
        *,
        optimizer: str,
        lr: float,
        l2: float,
        l2_rows: str,
        reduction: str,
        loss: str = "mse",
    ) -> None:
        self.model = model
        self.l2 = l2
        self.l2_rows = l2_rows
        self.reduction = reduction
        self.loss = loss
        self.optimizer = debias_ext.MFOptimizer(optimizer, lr)
        self._steps = torch.zeros((), dtype=torch.int64)
        for name, table in model.tables().items():
            self.optimizer.moments(name, table)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a step changes, by name, live: the tables and the state of the optimiser."""
        state = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state.items()}
        return {**self.model.tables(), "optimizer.steps": self._steps, **state}

    def to_(self, device: str | torch.device) -> None:
        """Move the trained model; the learner cannot go on after it."""
        self.model.to_(device)

    def step(self, batch: Batch, targets: Tensor, weights: Tensor | None, *, scale: float = 1.0) -> Tensor:
        """One step on the rated pairs of a batch.

        Args:
            batch: at least one pair.
            targets: [B].
            weights: [B], or None for 1.
            scale: multiplies l2.

        Returns:
            The reduced errors before the step, without the L2 term.
        """
        users, items, reduction = batch.users, batch.items, self.reduction
        if self.l2 and self.l2_rows == "block" and batch.block is not None:
            share = 1.0 if reduction == "sum" else 1.0 / len(batch)
            users, items, targets, weights = _with_block_rows(batch, targets, weights, share)
            reduction = "sum"
        options = {"exposures": batch.columns.get("exposures"), "reduction": reduction}
        return self._fused(debias_ext.mf_step_, (users, items, targets), weights, scale, **options)

    def epoch(self, loader: FlatLoader, number: int, l2_scale: Callable[[int], float]) -> Tensor:
        """An epoch of steps over the shuffled batches of a loader with columns "targets" and, maybe, "weights".

        Args:
            loader: all of its data are passed over.
            number: of the epoch.
            l2_scale: the factor of l2 in a batch of so many pairs.

        Returns:
            The mean over the steps of the reduced errors.
        """
        columns, size = loader.columns, loader.batch_size
        data = (columns["users"], columns["items"], columns["targets"])
        options = {"batch_size": size, "generator_seed": loader.seed, "epoch": number, "reduction": self.reduction}
        options["exposures"] = columns.get("exposures")
        full, rest = divmod(len(loader), size)
        total = torch.zeros((), dtype=torch.float64)
        # A last, smaller batch has an L2 and a mean of its own.
        for steps, length, start in ((full, size, 0), (min(rest, 1), rest, full)):
            if steps:
                part = {"start": start, "stop": start + steps, **options}
                loss = self._fused(debias_ext.mf_epoch_, data, columns.get("weights"), l2_scale(length), **part)
                total += loss.cpu() * (steps if self.reduction == "mean" else 1)
        return total / (full + min(rest, 1))

    def _fused(
        self,
        operator: Callable[..., Tensor],
        data: tuple[Tensor, Tensor, Tensor],
        weights: Tensor | None,
        scale: float,
        **options: Any,
    ) -> Tensor:
        model = self.model
        self.optimizer.steps = int(self._steps)
        loss = operator(
            model.user_factors,
            model.item_factors,
            *data,
            weights=weights,
            **model.learned_biases(),
            offset=model.offset,
            optimizer=self.optimizer,
            loss=self.loss,
            l2=self.l2 * scale,
            **options,
        )
        self._steps.fill_(self.optimizer.steps)
        return loss


def _with_block_rows(
    batch: Batch, targets: Tensor, weights: Tensor | None, share: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pairs with weights times `share`, and pairs of weight 0 that touch every user and item of the block."""
    assert batch.block is not None
    users, items = batch.block
    longest = torch.arange(max(len(users), len(items)), device=users.device)
    weights = torch.full_like(targets, share) if weights is None else weights * share
    nothing = targets.new_zeros(len(longest))
    return (
        torch.cat([batch.users, users[longest % len(users)]]),
        torch.cat([batch.items, items[longest % len(items)]]),
        torch.cat([targets, nothing]),
        torch.cat([weights, nothing]),
    )


class LossLearner:
    """Applies gradient steps of any differentiable loss to one model with `user_factors` and `item_factors`.

    Args:
        model, optimizer, lr, l2, l2_rows, reduction: as in `RowLearner`.
    """

    def __init__(
        self, model: Model, *, optimizer: str, lr: float, l2: float, l2_rows: str, reduction: str = "mean"
    ) -> None:
        self.model = model
        self.reduction = reduction
        self.optimizer = make_optimizer(optimizer, model.tables(), lr)
        self.l2 = l2
        self.l2_rows = l2_rows

    def tensors(self) -> dict[str, Tensor]:
        """Everything a step changes, by name, live: the tables and the state of the optimiser."""
        state = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        return {**self.model.tables(), **state}

    def to_(self, device: str | torch.device) -> None:
        """Move the trained model; the learner cannot go on after it."""
        self.model.to_(device)

    def step(self, batch: Batch, targets: Tensor, weights: Tensor | None, *, scale: float = 1.0) -> Tensor:
        """One step on weighted squared errors; see `RowLearner.step`."""
        loss = self.model.loss(batch.users, batch.items, targets, weights, self.reduction)
        self.update(loss, batch, scale=scale)
        return loss.detach()

    def update(self, loss: Tensor, batch: Batch, *, scale: float = 1.0) -> None:
        """One step down the gradient of loss + scale * l2 / 2 * (squared norms of the distinct rows)."""
        self.optimizer.step(self.gradients(loss, batch, scale=scale))

    def gradients(self, loss: Tensor, batch: Batch, *, scale: float = 1.0) -> tuple[Tensor, ...]:
        """The gradient that `update` goes down, one per table of the model."""
        gradients = torch.autograd.grad(loss, list(self.model.tables().values()))
        if self.l2:
            self._decay(gradients, batch, self.l2 * scale)
        return gradients

    @torch.no_grad()
    def _decay(self, gradients: tuple[Tensor, ...], batch: Batch, strength: float) -> None:
        sides = (batch.users, batch.items)
        if self.l2_rows == "block" and batch.block is not None:
            sides = batch.block
        named = dict(zip(self.model.tables(), gradients, strict=True))
        for side, rows in zip(("user_factors", "item_factors"), sides, strict=True):
            table, gradient = getattr(self.model, side), named[side]
            # Flags, not a list of distinct rows: no sort, and elementwise arithmetic does not depend on the threads.
            coefficient = table.new_zeros(len(table), 1).index_fill_(0, rows, strength)
            gradient.add_(coefficient * table)


class TableLearner:
    """Applies given gradients to named tables, with weight decay on every row of each: g + decay * table.

    Args:
        tables: leaves by name; the learner changes them in place and keeps no copy.
        optimizer: as in `RowLearner`.
        lr: learning rate.
        weight_decay: coefficient of the decay, which the optimiser sees as a part of the gradient.
    """

    def __init__(
        self, tables: Mapping[str, Tensor], *, optimizer: str = "adam", lr: float, weight_decay: float = 0.0
    ) -> None:
        self.tables = dict(tables)
        self.optimizer = make_optimizer(optimizer, self.tables, lr, weight_decay=weight_decay)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a step changes, by name, live: the tables and the state of the optimiser."""
        return {**self.tables, **{f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}}

    def to_(self, device: str | torch.device) -> None:
        """Move the tables where they are; the learner cannot go on after it."""
        for table in self.tables.values():
            table.data = table.data.to(device)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step; the gradients, one per table in order, may be sparse."""
        self.optimizer.step(gradients)


class ClickLearner:
    """Applies gradient steps of a loss to a click model and to tables of its method, by one optimiser.

    Args:
        model: the model that is trained; its running statistics take no gradient.
        extras: leaves by name, trained beside the model and not needed to predict.
        optimizer, lr: as in `RowLearner`.
    """

    def __init__(self, model: Model, extras: Mapping[str, Tensor], *, optimizer: str, lr: float) -> None:
        self.model = model
        self.extras = dict(extras)
        trained = {name: table for name, table in model.tables().items() if table.requires_grad}
        self.trained = {**trained, **self.extras}
        self.optimizer = make_optimizer(optimizer, self.trained, lr)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a step changes, by name, live: tables, running statistics and the state of the optimiser."""
        state = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        return {**self.model.tables(), **self.extras, **state}

    def to_(self, device: str | torch.device) -> None:
        """Move the trained model; the learner cannot go on after it."""
        self.model.to_(device)

    def update(self, loss: Tensor) -> None:
        """One step down the gradient of the loss; a table that the loss does not read stays."""
        gradients = torch.autograd.grad(loss, list(self.trained.values()), allow_unused=True, materialize_grads=True)
        self.optimizer.step(gradients)
