"""Inverse propensity scoring."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import exactly_one, loss_inputs, propensity_bounds, validated
from debias_ext.ops._fake import row_loss_outputs

_op = torch.ops.debias_ext.ips_loss.default


@torch.library.register_fake("debias_ext::ips_loss")
def _fake(scores, targets, source, logits, loss, clip_min, floor, reduction, validate, needs):
    return row_loss_outputs(scores, 3, reduction, needs)


def _reference(scores, targets, source, logits, loss, clip_min, floor, reduction, validate) -> Tensor:
    return reference.ips_loss(
        scores,
        targets,
        **propensity_argument(source, logits),
        loss=loss,
        clip_min=clip_min,
        floor=floor,
        reduction=reduction,
    )


def propensity_argument(source: Tensor | None, logits: bool) -> dict[str, Any]:
    """The keyword under which the reference takes propensities or their logits."""
    return {"propensity_logits" if logits else "propensities": source}


_rule = RowLoss(_op, _reference, n_tensors=3, n_gradients=3)


def ips_loss(
    scores: Tensor,
    targets: Tensor,
    propensities: Tensor | None = None,
    *,
    propensity_logits: Tensor | None = None,
    loss: str = "mse",
    clip_min: float | None = None,
    floor: float | None = None,
    reduction: str = "mean",
    validate: bool = True,
) -> Tensor:
    """Inverse propensity scored loss ell(s, t) / q, forward and gradients in one pass.

    Args:
        scores: [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as well.
        targets: the shape and dtype of scores.
        propensities: the shape and dtype of scores, in (0, 1]: the probability that the pair was observed.
        propensity_logits: instead of propensities: q = sigmoid(logit), with 1 / q computed as 1 + exp(-logit); logits
            below -87 (float64: -708) count as that.
        loss: "mse", "mae" or "bce", as in `pointwise_loss`.
        clip_min: in (0, 1]: q is replaced by max(q, clip_min); clipped rows give no gradient to their propensity.
        floor: in (0, 1): the smooth floor q' = floor + (1 - floor) q, for learned propensities. Not with clip_min.
        reduction: "mean" over the rows given (NaN of no rows), "sum", or "none".
        validate: on CUDA, check the propensities' values, at the price of one synchronisation; on the CPU they are
            always checked.

    Returns:
        A 0-d tensor, or row by row for reduction "none".

    Raises:
        ValueError: a propensity that is not in (0, 1], a NaN logit, or a shape, dtype, device or option other than the
            above; the message names the argument, and the first bad row.

    Notes:
        Twice differentiable in scores, targets and the propensities or their logits. Any other NaN propagates. The
        same bits for every number of threads. Under autocast half types are computed in float32.

    Source:
        Schnabel et al. 2016, "Recommendations as Treatments", eq. 3; the smooth floor is ours.
    """
    exactly_one("propensities", propensities, "propensity_logits", propensity_logits)
    logits = propensities is None
    source = propensity_logits if propensities is None else propensities
    tensors = loss_inputs(scores=scores, targets=targets, **propensity_argument(source, logits))
    options = (logits, loss, *propensity_bounds(clip_min, floor), reduction, validated(validate, scores))
    return _rule(tensors, options)
