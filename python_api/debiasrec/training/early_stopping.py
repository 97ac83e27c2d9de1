"""Early stopping that keeps a copy of the best state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class EarlyStopping:
    """Watches one number per epoch and keeps the tensors of the best epoch.

    Args:
        patience: stop after this many epochs in a row without a strict improvement.
        higher_is_better: direction of the criterion.
    """

    def __init__(self, patience: int, *, higher_is_better: bool) -> None:
        self.patience = patience
        self.sign = 1.0 if higher_is_better else -1.0
        self.best_epoch = 0
        self.best_value: float | None = None
        self.best: dict[str, Tensor] = {}

    def update(self, epoch: int, value: float, tensors: Mapping[str, Tensor]) -> bool:
        """Record an epoch; True when it is time to stop."""
        if self.best_value is None or self.sign * value > self.sign * self.best_value:
            self.best_epoch, self.best_value = epoch, value
            # A copy: a reference would follow the live weights, and "best" would silently become "last".
            self.best = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        return epoch - self.best_epoch >= self.patience

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the best tensors back into the live ones; nothing to do when no epoch was recorded."""
        for name, tensor in self.best.items():
            tensors[name].copy_(tensor)
