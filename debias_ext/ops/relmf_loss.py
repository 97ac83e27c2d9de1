"""Inverse exposure losses of implicit feedback."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import loss_inputs, optional_number, validated
from debias_ext.ops._fake import row_loss_outputs

_op = torch.ops.debias_ext.relmf_loss.default


@torch.library.register_fake("debias_ext::relmf_loss")
def _fake(scores, clicks, exposures, form, clip_min, reduction, validate, needs):
    return row_loss_outputs(scores, 3, reduction, needs)


def _reference(scores, clicks, exposures, form, clip_min, reduction, validate) -> Tensor:
    return reference.relmf_loss(scores, clicks, exposures, form=form, clip_min=clip_min, reduction=reduction)


_rule = RowLoss(_op, _reference, n_tensors=3, n_gradients=3)


def relmf_loss(
    scores: Tensor,
    clicks: Tensor,
    exposures: Tensor,
    *,
    form: str = "square",
    clip_min: float | None = None,
    reduction: str = "mean",
    validate: bool = True,
) -> Tensor:
    """Relevance matrix factorisation: clicks R over exposures x as the targets of p = sigmoid(s).

    Args:
        scores: [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as well.
        clicks: the shape and dtype of scores, in [0, 1].
        exposures: the shape and dtype of scores, in (0, 1]; 0 is allowed with clip_min.
        form: "square" (R/x) (1 - p)^2 + (1 - R/x) p^2; "log" softplus(s) - (R/x) s, unbounded below in the score of a
            click with x < 1.
        clip_min: in (0, 1]: x is replaced by max(x, clip_min); clipped rows give no gradient to their exposure.
        reduction: "mean" over the rows given (NaN of no rows), "sum", or "none".
        validate: on CUDA, check the values of clicks and exposures, at the price of one synchronisation; on the CPU
            they are always checked.

    Returns:
        A 0-d tensor, or row by row for reduction "none".

    Raises:
        ValueError: a click outside [0, 1] or an exposure outside its range, NaN included, or a shape, dtype, device or
            option other than the above; the message names the argument, and the first bad row.

    Notes:
        Twice differentiable in scores, clicks and exposures. NaN scores propagate. The same bits for every number of
        threads. Under autocast half types are computed in float32.

    Source:
        Saito et al. 2020, "Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback", eq. 8 (both
        forms of the local loss).
    """
    tensors = loss_inputs(scores=scores, clicks=clicks, exposures=exposures)
    return _rule(
        tensors, (form, optional_number("clip_min", clip_min, "in (0, 1]"), reduction, validated(validate, scores))
    )
