"""Pairwise ranking losses."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import NOT_NEGATIVE, loss_inputs, number, validated
from debias_ext.ops._fake import row_loss_outputs

_op = torch.ops.debias_ext.pair_loss.default
_OPTIONAL = ("weights", "positive_popularity", "negative_popularity")


@torch.library.register_fake("debias_ext::pair_loss")
def _fake(
    positive, negative, weights, positive_popularity, negative_popularity, gamma, kind, reduction, validate, needs
):
    return row_loss_outputs(positive, 3, reduction, needs)


def _reference(
    positive, negative, weights, positive_popularity, negative_popularity, gamma, kind, reduction, validate
) -> Tensor:
    return reference.pair_loss(
        positive,
        negative,
        weights=weights,
        positive_popularity=positive_popularity,
        negative_popularity=negative_popularity,
        gamma=gamma,
        kind=kind,
        reduction=reduction,
    )


_rule = RowLoss(_op, _reference, n_tensors=5, n_gradients=3)


def pair_loss(
    positive_scores: Tensor,
    negative_scores: Tensor,
    *,
    weights: Tensor | None = None,
    positive_popularity: Tensor | None = None,
    negative_popularity: Tensor | None = None,
    gamma: float = 0.0,
    kind: str = "bpr",
    reduction: str = "mean",
    validate: bool = True,
) -> Tensor:
    """w softplus(-(f_i - f_j)) over pairs of a positive item i and a negative item j.

    Args:
        positive_scores: s_i, [B] (any shape; all arguments alike), float32 or float64; on CUDA float16 and bfloat16 as
            well.
        negative_scores: s_j, the shape and dtype of positive_scores.
        weights: w, the shape and dtype of positive_scores, any sign; None means 1. The unbiased loss takes
            R_i / x_i, or R_i / x_i (1 - R_j / x_j), with exposures x.
        positive_popularity: m_i, the shape and dtype of positive_scores, in [0, 1]; only for "pda".
        negative_popularity: m_j, alike; given together with positive_popularity or not at all.
        gamma: the exponent of the popularities, finite, at least 0; only for "pda". 0^0 is 1.
        kind: "bpr" f = s; "pda" f = m^gamma E(s), with E(s) = s + 1 for s > 0 and e^s below.
        reduction: "mean" over the pairs given (NaN of no pairs), "sum", or "none".
        validate: on CUDA, check the popularities' values, at the price of one synchronisation; on the CPU they are
            always checked.

    Returns:
        A 0-d tensor, or pair by pair for reduction "none".

    Raises:
        ValueError: a popularity outside [0, 1] or NaN, one of the two popularities alone, popularities or gamma with
            "bpr", gamma without popularities, or a shape, dtype, device or option other than the above; the message
            names the argument, and the first bad row.

    Notes:
        Twice differentiable in both scores and the weights; popularities are constants. An item of popularity 0 has
        f = 0 for gamma > 0, and its score gets no gradient: give it a floor if it should learn. NaN scores and weights
        propagate. The same bits for every number of threads. Under autocast half types are computed in float32.

    Source:
        BPR: Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback"; unbiased: Saito 2020,
        "Unbiased Pairwise Learning from Biased Implicit Feedback"; PDA: Zhang et al. 2021, "Causal Intervention for
        Leveraging Popularity Bias in Recommendation", eq. 6 and 7.
    """
    tensors = loss_inputs(
        optional=_OPTIONAL,
        positive_scores=positive_scores,
        negative_scores=negative_scores,
        weights=weights,
        positive_popularity=positive_popularity,
        negative_popularity=negative_popularity,
    )
    options = (number("gamma", gamma, NOT_NEGATIVE), kind, reduction, validated(validate, positive_scores))
    return _rule(tensors, options)
