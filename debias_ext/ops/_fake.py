"""Shapes of the losses' outputs, for fake tensors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def row_loss_outputs(scores: Tensor, n_gradients: int, reduction: str, needs: int) -> tuple[Tensor, ...]:
    """The loss (0-d, or row by row) and each gradient: shaped like the scores if asked for, else without elements."""
    loss = scores.new_empty(scores.shape if reduction == "none" else ())
    gradients = (scores.new_empty(scores.shape if needs >> k & 1 else (0,)) for k in range(n_gradients))
    return loss, *gradients


def reduced_loss_outputs(like: Tensor, tensors: Sequence[Tensor | None], needs: int) -> tuple[Tensor, ...]:
    """The 0-d loss and each gradient: shaped like its tensor if asked for, else without elements."""
    shapes = (t.shape if t is not None and needs >> k & 1 else (0,) for k, t in enumerate(tensors))
    return like.new_empty(()), *(like.new_empty(shape) for shape in shapes)
