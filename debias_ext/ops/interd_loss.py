"""Distillation from a biased and a debiased teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._inputs import loss_inputs, number, validated
from debias_ext.ops._fake import row_loss_outputs
from debias_ext.reference._losses import interd_epsilon

_op = torch.ops.debias_ext.interd_loss.default


@torch.library.register_fake("debias_ext::interd_loss")
def _fake(
    scores,
    biased,
    debiased,
    ratings,
    debiased_weight,
    gamma,
    variant,
    detach_target,
    epsilon,
    reduction,
    validate,
    needs,
):
    return row_loss_outputs(scores, 1, reduction, needs)


def _reference(
    scores,
    biased,
    debiased,
    ratings,
    debiased_weight,
    gamma,
    variant,
    detach_target,
    epsilon,
    reduction,
    validate,
) -> Tensor:
    return reference.interd_loss(
        scores,
        biased,
        debiased,
        ratings,
        debiased_weight=debiased_weight,
        gamma=gamma,
        variant=variant,
        detach_target=detach_target,
        epsilon=epsilon,
        reduction=reduction,
    )


_rule = RowLoss(_op, _reference, n_tensors=5, n_gradients=1)


def interd_loss(
    scores: Tensor,
    biased: Tensor,
    debiased: Tensor,
    ratings: Tensor | None = None,
    *,
    debiased_weight: Tensor | None = None,
    gamma: float,
    variant: str = "soft",
    detach_target: bool = True,
    reduction: str = "mean",
    validate: bool = True,
) -> Tensor:
    """Squared distance (s - r*)^2 to a target between two teachers, forward and gradient in one pass.

    The target is r* = w_b rb + w_d rd with w_b = sigmoid(gamma (log(Lb + e) - log(Ld + e))) and w_d = 1 - w_b, where
    Lb = (rb - r)^2 and Ld = omega (rd - r)^2 say how far each teacher is off; e is 1e-8, and 1e-12 in float64. The
    observed form measures them against ratings; the imputed form, for missing pairs, against the student's own score,
    r = s.

    Args:
        scores: s, the student's, [B] (any shape; all tensors alike), float32 or float64; on CUDA float16 and bfloat16
            as well, computed in float32.
        biased: rb, the shape and dtype of scores: a teacher fitted to biased feedback.
        debiased: rd, the shape and dtype of scores: a debiased teacher.
        ratings: r, the shape and dtype of scores; None for the imputed form.
        debiased_weight: omega, the shape and dtype of scores, finite and not negative; None means 1.
        gamma: any finite number; negative ones prefer the teacher that is nearer, 0 takes the mean of the two.
        variant: "soft"; "hard" takes the preferred teacher alone and the mean on ties, the limit of large gamma
            (InterD-B); "zero" replaces s by 0 in the coefficients of the imputed form (InterD-I).
        detach_target: the target is a constant, as the paper means it. False lets the slope of "soft" in the imputed
            form run through the coefficients as well, as the published program does: it grows like 1 / sqrt(e) where
            the score comes near one of the teachers, and stays finite. The other forms don't know the difference.
        reduction: "mean" over the rows (NaN of no rows), "sum", or "none".
        validate: on CUDA, check the values of debiased_weight, at the price of one synchronisation if it is given; on
            the CPU they are always checked.

    Returns:
        A 0-d tensor, or row by row for reduction "none".

    Raises:
        ValueError: a debiased_weight that is negative or not finite, or a shape, dtype, device or option other than
            the above; the message names the argument, and the first bad row.

    Notes:
        Differentiable in scores; everything else is a constant, and gets no gradient. Second derivatives, in scores,
        keep what is detached constant. NaN propagates, and an infinity as infinity or NaN; in debiased_weight both
        raise. The same bits for every number of threads. No temporaries. No synchronisation but for `validate`.

    Source:
        Ding et al. 2022, "Interpolative Distillation for Unifying Biased and Debiased Recommendation", eq. 2-8.
    """
    tensors = loss_inputs(
        scores=scores,
        biased=biased,
        debiased=debiased,
        ratings=ratings,
        debiased_weight=debiased_weight,
        optional=("ratings", "debiased_weight"),
    )
    tensors[1:] = [None if tensor is None else tensor.detach() for tensor in tensors[1:]]
    rule = (number("gamma", gamma), variant, detach_target, interd_epsilon(scores.dtype))
    return _rule(tensors, (*rule, reduction, validated(validate, scores)))
