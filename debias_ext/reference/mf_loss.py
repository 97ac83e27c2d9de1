"""`mf_loss` in plain torch."""

from __future__ import annotations

from torch import Tensor

from debias_ext.reference._losses import error, reduce
from debias_ext.reference.exposure_loss import exposure_loss
from debias_ext.reference.mf_score import mf_score
from debias_ext.reference.relmf_loss import relmf_loss


def row_loss(
    scores: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    exposures: Tensor | None,
    pseudo_targets: Tensor | None,
    *,
    loss: str,
    reduction: str,
) -> Tensor:
    """The loss as a function of the scores: w ell(s, t), w ell(s, t, x), or ell(s, p) + w (ell(s, t) - ell(s, p))."""
    if loss in ("exposure", "relmf"):
        assert exposures is not None
        if loss == "exposure":
            rows = exposure_loss(scores, targets, exposures, reduction="none")
        else:
            rows = relmf_loss(scores, targets, exposures, form="log", reduction="none")
        return reduce(rows if weights is None else weights * rows, reduction)
    rows = error(scores, targets, loss)
    if pseudo_targets is not None:
        imputed = error(scores, pseudo_targets, loss)
        rows = imputed + (rows - imputed if weights is None else weights * (rows - imputed))
    elif weights is not None:
        rows = weights * rows
    return reduce(rows, reduction)


def mf_loss(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    offset: float | Tensor = 0.0,
    loss: str = "mse",
    exposures: Tensor | None = None,
    pseudo_targets: Tensor | None = None,
    reduction: str = "mean",
    sparse_grad: bool = False,
) -> Tensor:
    scores = mf_score(
        user_factors, item_factors, users, items, user_bias, item_bias, offset=offset, sparse_grad=sparse_grad
    )
    return row_loss(scores, targets, weights, exposures, pseudo_targets, loss=loss, reduction=reduction)
