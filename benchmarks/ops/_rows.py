"""What the benchmarks of the row losses share: inputs, and a case from our call and the plain one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..harness import OURS, Case, Goal, Settings
from ._shared import COMPILED, EAGER

TO_SCORES = {EAGER: Goal(4, 6), COMPILED: Goal(2, 3.5)}
TO_PROPENSITIES = {EAGER: Goal(4, 5.5), COMPILED: Goal(1.7, 2.5)}


class Rows:
    """Random scores, +1/-1 targets, propensities in (0.1, 1], imputations, and half of the rows observed."""

    def __init__(self, rows: int, settings: Settings, *, propensity_gradient: bool = False) -> None:
        place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}
        self.scores = torch.randn(rows, **place).requires_grad_()
        self.targets = torch.randn(rows, **place).sign_()
        self.propensities = 1 - 0.9 * torch.rand(rows, **place)
        self.pseudo_targets = torch.randn(rows, **place)
        self.observed = torch.rand(rows, **place) < 0.5
        if propensity_gradient:
            self.propensities.requires_grad_()

    def differentiated(self) -> list[Tensor]:
        return [tensor for tensor in (self.scores, self.propensities) if tensor.requires_grad]


def loss_and_gradients(loss: Callable[..., Tensor], arguments: Sequence[Tensor], wanted: Sequence[Tensor]) -> Any:
    """A call that does forward and backward, and returns the loss and the gradients."""

    def run() -> list[Tensor]:
        value = loss(*arguments)
        return [value.detach(), *torch.autograd.grad(value, wanted)]

    return run


def row_case(
    ours: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    arguments: Sequence[Tensor],
    wanted: Sequence[Tensor],
    settings: Settings,
    peers: Mapping[str, Callable[..., Tensor]] | None = None,
) -> Case:
    """Forward and backward of our loss, of the same in plain torch, of that compiled, and of the peers.

    The bytes are one read of every argument and one write of every gradient.
    """
    losses = {OURS: ours, EAGER: plain}
    if settings.compiled:
        losses[COMPILED] = torch.compile(plain, fullgraph=True, dynamic=False)
    losses |= peers or {}
    moved = sum(tensor.nbytes for tensor in (*arguments, *wanted))
    return Case({name: loss_and_gradients(loss, arguments, wanted) for name, loss in losses.items()}, moved)
