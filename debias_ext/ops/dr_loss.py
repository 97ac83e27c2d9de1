"""Doubly robust loss."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import loss_inputs, validated
from debias_ext.ops._fake import row_loss_outputs

_op = torch.ops.debias_ext.dr_loss.default


@torch.library.register_fake("debias_ext::dr_loss")
def _fake(scores, targets, pseudo_targets, propensities, observed, loss, reduction, validate, needs):
    return row_loss_outputs(scores, 4, reduction, needs)


def _reference(scores, targets, pseudo_targets, propensities, observed, loss, reduction, validate) -> Tensor:
    return reference.dr_loss(scores, targets, pseudo_targets, propensities, observed, loss=loss, reduction=reduction)


_rule = RowLoss(_op, _reference, n_tensors=5, n_gradients=4)


def dr_loss(
    scores: Tensor,
    targets: Tensor,
    pseudo_targets: Tensor,
    propensities: Tensor,
    observed: Tensor,
    *,
    loss: str = "mse",
    reduction: str = "mean",
    validate: bool = True,
) -> Tensor:
    """Doubly robust loss e(s, p) + (o / q) (e(s, t) - e(s, p)), forward and gradients in one pass.

    Args:
        scores: [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as well.
        targets: the shape and dtype of scores; neither read nor checked where observed is False.
        pseudo_targets: the shape and dtype of scores: what an imputation model says of every row. The residual form,
            with an imputation g of t - s, is `pseudo_targets = scores.detach() + g`.
        propensities: the shape and dtype of scores, in (0, 1]; neither read nor checked where observed is False.
        observed: the shape of scores, bool.
        loss: "mse", "mae" or "bce", as in `pointwise_loss`.
        reduction: "mean" over the rows given (NaN of no rows), "sum", or "none".
        validate: on CUDA, check the propensities' values, at the price of one synchronisation; on the CPU they are
            always checked.

    Returns:
        A 0-d tensor, or row by row for reduction "none".

    Raises:
        ValueError: a propensity of an observed row that is not in (0, 1], or a shape, dtype, device or option other
            than the above; the message names the argument, and the first bad row.

    Notes:
        Twice differentiable in scores, targets, pseudo_targets and propensities. Any other NaN propagates, and an
        infinity as infinity or NaN. The same bits for every number of threads.

    Source:
        Wang et al. 2019, "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random", eq. 6.
    """
    tensors = loss_inputs(
        scores=scores,
        targets=targets,
        pseudo_targets=pseudo_targets,
        propensities=propensities,
        observed=observed,
    )
    return _rule(tensors, (loss, reduction, validated(validate, scores)))
