"""Weighted pointwise losses."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import loss_inputs
from debias_ext.ops._fake import row_loss_outputs

_op = torch.ops.debias_ext.pointwise_loss.default


@torch.library.register_fake("debias_ext::pointwise_loss")
def _fake(scores, targets, weights, loss, reduction, needs):
    return row_loss_outputs(scores, 3, reduction, needs)


def _reference(scores, targets, weights, loss, reduction) -> Tensor:
    return reference.pointwise_loss(scores, targets, weights, loss=loss, reduction=reduction)


_rule = RowLoss(_op, _reference, n_tensors=3, n_gradients=3)


def pointwise_loss(
    scores: Tensor, targets: Tensor, weights: Tensor | None = None, *, loss: str = "mse", reduction: str = "mean"
) -> Tensor:
    """Weighted pointwise loss w * ell(s, t), forward and gradients in one pass.

    Args:
        scores: [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as well. For
            "bce" these are logits.
        targets: the shape and dtype of scores. For "bce" soft targets, normally in [0, 1].
        weights: the shape and dtype of scores, any sign; None means 1.
        loss: "mse" (s - t)^2; "mae" |s - t|, slope 0 at s = t; "bce" softplus(s) - t s, the cross-entropy of
            sigmoid(s) to t.
        reduction: "mean" over the rows (NaN of no rows), "sum", or "none".

    Returns:
        A 0-d tensor, or row by row for reduction "none".

    Raises:
        ValueError: a shape, dtype, device or option other than the above; the message names the argument.

    Notes:
        Twice differentiable in scores, targets and weights. Finite for finite scores. NaN propagates. The same bits for
        every number of threads. Under autocast half types are computed in float32. No synchronisation.

    Source:
        The naive estimator of Schnabel et al. 2016, "Recommendations as Treatments", eq. 2 when the weights are 1.
    """
    tensors = loss_inputs(scores=scores, targets=targets, weights=weights, optional=("weights",))
    return _rule(tensors, (loss, reduction))
