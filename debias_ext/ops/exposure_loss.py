"""The loss of clicks under partial exposure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import exactly_one, loss_inputs, validated
from debias_ext.ops._fake import row_loss_outputs

_op = torch.ops.debias_ext.exposure_loss.default


@torch.library.register_fake("debias_ext::exposure_loss")
def _fake(scores, clicks, source, logits, reduction, validate, needs):
    return row_loss_outputs(scores, 3, reduction, needs)


def _reference(scores, clicks, source, logits, reduction, validate) -> Tensor:
    return reference.exposure_loss(scores, clicks, **_exposure_argument(source, logits), reduction=reduction)


def _exposure_argument(source: Tensor | None, logits: bool) -> dict[str, Any]:
    return {"exposure_logits" if logits else "exposures": source}


_rule = RowLoss(_op, _reference, n_tensors=3, n_gradients=3)


def exposure_loss(
    scores: Tensor,
    clicks: Tensor,
    exposures: Tensor | None = None,
    *,
    exposure_logits: Tensor | None = None,
    reduction: str = "mean",
    validate: bool = True,
) -> Tensor:
    """-R log(x p) - (1 - R) log(1 - x p), p = sigmoid(s): the likelihood of clicks R under relevance p and exposure x.

    Args:
        scores: [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as well.
        clicks: the shape and dtype of scores, in [0, 1]; 0 and 1 throughout is the fastest.
        exposures: the shape and dtype of scores, in [0, 1]: the probability that the user saw the item. At least
            1e-28 (float64: 1e-288) where there is a click.
        exposure_logits: instead of exposures: x = sigmoid(logit), any number but NaN. Infinite ones, and infinite
            scores beside logits, may make the value of their row NaN: an exposure of 1 is for `exposures`.
        reduction: "mean" over the rows given (NaN of no rows), "sum", or "none".
        validate: on CUDA, check the values of clicks and exposures, at the price of one synchronisation; on the CPU
            they are always checked.

    Returns:
        A 0-d tensor, or row by row for reduction "none".

    Raises:
        ValueError: a click outside [0, 1], an exposure outside [0, 1] or of 0 with a click, a NaN among either or
            among the logits, or a shape, dtype, device or option other than the above; the message names the argument,
            and the first bad row.

    Notes:
        Twice differentiable in scores, clicks, and the exposures or their logits. Value and slopes keep their digits
        for scores and logits of +-60 and every exposure in [0, 1]; nothing is clipped, no epsilon is added. Without a
        click, the slope in an exposure grows like e^s as the exposure reaches 1; that in a logit stays below 1. Where
        an exposure is 0, the slope in the click leaves out its infinite part log x. NaN scores propagate. The same
        bits for every number of threads. Under autocast half types are computed in float32.

    Source:
        UMF where the exposures are fixed, Biif where they are learned: "Low-variance estimator for missing-not-at-
        random implicit feedback", the training loss; the noisy-or form of Liang et al. 2016, "Modeling User Exposure".
    """
    exactly_one("exposures", exposures, "exposure_logits", exposure_logits)
    logits = exposures is None
    source = exposure_logits if exposures is None else exposures
    tensors = loss_inputs(scores=scores, clicks=clicks, **_exposure_argument(source, logits))
    return _rule(tensors, (logits, reduction, validated(validate, scores)))
