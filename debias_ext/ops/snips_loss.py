"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import exactly_one, integer, loss_inputs, number, propensity_bounds, validated
from debias_ext.ops._fake import row_loss_outputs
from debias_ext.ops.ips_loss import propensity_argument

_op = torch.ops.debias_ext.snips_loss.default


@torch.library.register_fake("debias_ext::snips_loss")
def _fake(scores, targets, source, logits, loss, clip_min, floor, normaliser_sum, normaliser_rows, validate, needs):
    return row_loss_outputs(scores, 3, "sum", needs)


def _reference(scores, targets, source, logits, loss, clip_min, floor, normaliser_sum, rows, validate) -> Tensor:
    normaliser = None if normaliser_sum is None else (normaliser_sum, rows)
    return reference.snips_loss(
        scores,
        targets,
        **propensity_argument(source, logits),
        loss=loss,
        clip_min=clip_min,
        floor=floor,
        normaliser=normaliser,
    )


def _normaliser(normaliser: tuple[float, int] | None) -> tuple[float | None, int]:
    if normaliser is None:
        return None, 0
    try:
        total, rows = normaliser
        return number("sum", total, "positive and finite"), integer("rows", rows)
    except (TypeError, ValueError):
        raise ValueError(f"normaliser must be (sum of 1 / q, number of rows), got {normaliser!r}") from None


_rule = RowLoss(_op, _reference, n_tensors=3, n_gradients=3)


def snips_loss(
    scores: Tensor,
    targets: Tensor,
    propensities: Tensor | None = None,
    *,
    propensity_logits: Tensor | None = None,
    loss: str = "mse",
    clip_min: float | None = None,
    floor: float | None = None,
    normaliser: tuple[float, int] | None = None,
    validate: bool = True,
) -> Tensor:
    """Self-normalised inverse propensity scored loss sum(ell / q) / sum(1 / q).

    Args:
        scores: [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as well.
        targets: the shape and dtype of scores.
        propensities: the shape and dtype of scores, in (0, 1].
        propensity_logits: instead of propensities, as in `ips_loss`.
        loss: "mse", "mae" or "bce", as in `pointwise_loss`.
        clip_min: as in `ips_loss`; clipping comes before normalising.
        floor: as in `ips_loss`.
        normaliser: (Z, N), the sum Z of 1 / q over all N rows of the data, clipped alike. The loss of a batch of B rows
            is then (N / B) sum(ell / q) / Z, whose mean over batches is the loss of the whole data; without it the sum
            over the batch itself is used, which is biased for small batches.
        validate: as in `ips_loss`.

    Returns:
        A 0-d tensor; NaN of no rows.

    Raises:
        ValueError: as `ips_loss`, and a normaliser that is not (positive, at least 1).

    Notes:
        Twice differentiable in scores, targets and the propensities or their logits; a given normaliser is a constant.
        Two passes over the rows. The same bits for every number of threads.

    Source:
        Swaminathan and Joachims 2015, "The Self-Normalized Estimator for Counterfactual Learning", eq. 8; Schnabel et
        al. 2016, section 3.3.
    """
    exactly_one("propensities", propensities, "propensity_logits", propensity_logits)
    logits = propensities is None
    source = propensity_logits if propensities is None else propensities
    tensors = loss_inputs(scores=scores, targets=targets, **propensity_argument(source, logits))
    normaliser_sum, rows = _normaliser(normaliser)
    options = (logits, loss, *propensity_bounds(clip_min, floor), normaliser_sum, rows, validated(validate, scores))
    return _rule(tensors, options)
