"""Optimisers of whole tables: what they remember between the steps of `debias_ext.optimizer_step_`.

Gradients may be sparse: the result is that of dense ones, and the same bits for every number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

import debias_ext


class SGD:
    """row -= lr * gradient.

    Args:
        tables: tensors by name; they are changed in place.
        lr: learning rate.
        weight_decay: times the table, a part of the gradient.
    """

    kind: ClassVar[str] = "sgd"
    moments: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tables: Mapping[str, Tensor], lr: float, *, weight_decay: float = 0.0) -> None:
        self.names = list(tables)
        self.tables = list(tables.values())
        self.lr, self.weight_decay = lr, weight_decay
        self.state: dict[str, list[Tensor]] = {
            moment: [torch.zeros_like(table, requires_grad=False) for table in self.tables] for moment in self.moments
        }

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's own state by name, live."""
        return {
            f"{name}.{moment}": tensor
            for moment, tensors in self.state.items()
            for name, tensor in zip(self.names, tensors, strict=True)
        }

    def step(self, gradients: Iterable[Tensor]) -> None:
        """Apply one step; one gradient per table, in order."""
        self._apply(gradients)

    def _apply(self, gradients: Iterable[Tensor], number: int = 1) -> None:
        debias_ext.optimizer_step_(
            self.tables,
            list(gradients),
            kind=self.kind,
            lr=self.lr,
            first=self.state.get("first", ()),
            second=self.state.get("second", ()),
            step=number,
            weight_decay=self.weight_decay,
        )


class Adagrad(SGD):
    """v += g^2, row -= lr g / (sqrt(v) + eps); a row without a gradient does not move.

    Source: Duchi, Hazan and Singer, JMLR 2011, figure 1.
    """

    kind: ClassVar[str] = "adagrad"
    moments: ClassVar[tuple[str, ...]] = ("second",)


class Adam(SGD):
    """Dense Adam: the moments of rows without a gradient decay too.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.
    """

    kind: ClassVar[str] = "adam"
    moments: ClassVar[tuple[str, ...]] = ("first", "second")

    def __init__(self, tables: Mapping[str, Tensor], lr: float, *, weight_decay: float = 0.0) -> None:
        super().__init__(tables, lr, weight_decay=weight_decay)
        self.steps = torch.zeros((), dtype=torch.int64)

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's own state by name, live."""
        return {"steps": self.steps, **super().tensors()}

    def step(self, gradients: Iterable[Tensor]) -> None:
        """Apply one step; one gradient per table, in order."""
        self.steps += 1
        self._apply(gradients, int(self.steps))


OPTIMIZERS: dict[str, type[SGD]] = {each.kind: each for each in (SGD, Adam, Adagrad)}


def make_optimizer(name: str, tables: Mapping[str, Tensor], lr: float, *, weight_decay: float = 0.0) -> SGD:
    """The optimiser called `name`, a key of OPTIMIZERS, over the tables."""
    return OPTIMIZERS[name](tables, lr, weight_decay=weight_decay)
