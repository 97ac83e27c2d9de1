"""Shapes of the row losses' outputs, for fake tensors."""

from __future__ import annotations

from torch import Tensor


def row_loss_outputs(scores: Tensor, n_gradients: int, reduction: str, needs: int) -> tuple[Tensor, ...]:
    """The loss (0-d, or row by row) and each gradient: shaped like the scores if asked for, else without elements."""
    loss = scores.new_empty(scores.shape if reduction == "none" else ())
    gradients = (scores.new_empty(scores.shape if needs >> k & 1 else (0,)) for k in range(n_gradients))
    return loss, *gradients
