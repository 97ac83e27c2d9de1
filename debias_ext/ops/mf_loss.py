"""The loss of a matrix-factorisation model over a batch of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from debias_ext._autograd import (
    Tensors,
    below_autograd,
    differentiable_gradients,
    needs_gradient,
    recording_or_below_autograd,
    transforms_active,
)
from debias_ext._inputs import check_tensors, validated
from debias_ext.ops.mf_score import checked_offset, mf_score, score_gradients, sparse_score_gradients
from debias_ext.reference.mf_loss import row_loss

_op = torch.ops.debias_ext.mf_loss.default

# The tensors of the operator, in its order: the arguments of mf_score, then the columns of the loss. Bit k of `needs`
# stands for the k-th tensor that is not an index.
N_TABLES, N_TENSORS = 7, 11
DIFFERENTIABLE = (0, 1, 4, 5, 6, 7, 8, 9, 10)
SCORE_NEEDS, COLUMN_SHIFT = 31, 5


@torch.library.register_fake("debias_ext::mf_loss")
def _fake(user_factors, item_factors, users, items, user_bias, item_bias, offset, targets, *rest):
    columns, needs = (targets, *rest[:3]), rest[-1]
    wanted = [needs & SCORE_NEEDS]
    wanted += [column is not None and needs & 1 << COLUMN_SHIFT + k for k, column in enumerate(columns)]
    return targets.new_empty(()), *(targets.new_empty(targets.shape if bit else (0,)) for bit in wanted)


def _present(tensors: Tensors) -> int:
    """The bits of the tensors that were given."""
    return sum(1 << k for k, position in enumerate(DIFFERENTIABLE) if tensors[position] is not None)


def _indexed(tensors: Tensors) -> Sequence[Tensor]:
    """The tables and their indices, which are never None."""
    return cast("Sequence[Tensor]", tensors[:4])


def _in_order(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """From the order of `needs` to that of the tensors."""
    ordered: list[Tensor | None] = [None] * N_TENSORS
    for position, gradient in zip(DIFFERENTIABLE, gradients, strict=True):
        ordered[position] = gradient
    return ordered


def _differentiable_gradients(tensors: Tensors, options: tuple[Any, ...], needs: int, grad: Tensor) -> Tensors:
    """First gradients as differentiable functions: the slopes of the row loss in plain torch at scores of mf_score."""
    offset_value, loss, reduction, _ = options
    tables, columns = tensors[:N_TABLES], tensors[N_TABLES:]
    offset = offset_value if tables[6] is None else tables[6]
    scores = mf_score(*tables[:6], offset=offset, validate=False)  # type: ignore[arg-type]

    def rows(*values: Tensor) -> Tensor:
        return row_loss(*values, loss=loss, reduction=reduction)

    row_needs = bool(needs & SCORE_NEEDS) | needs >> COLUMN_SHIFT << 1
    slopes, *of_columns = differentiable_gradients(rows, (scores, *columns), row_needs, grad)
    of_tables: Tensors = [None] * COLUMN_SHIFT
    if slopes is not None:
        of_tables = score_gradients(slopes, _indexed(tensors), needs & SCORE_NEEDS)
    return [*of_tables, *of_columns]


def _gradients(
    tensors: Tensors, options: tuple[Any, ...], needs: int, saved: Sequence[Tensor], grad: Tensor, sparse: bool = False
) -> list[Tensor | None]:
    """One per tensor, from the slopes that the forward pass saved, or differentiable ones where autograd records."""
    if torch.is_grad_enabled() and not sparse:
        return _in_order(_differentiable_gradients(tensors, options, needs, grad))
    slopes, *columns = saved
    of_tables: Tensors = [None] * COLUMN_SHIFT
    if needs & SCORE_NEEDS:
        backward = sparse_score_gradients if sparse else score_gradients
        of_tables = backward(slopes * grad, _indexed(tensors), needs & SCORE_NEEDS)
    of_columns = [column * grad if needs >> COLUMN_SHIFT + k & 1 else None for k, column in enumerate(columns)]
    return _in_order([*of_tables, *of_columns])


class _EagerLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: tuple[Any, ...], sparse: bool, needs: int, *tensors: Tensor | None) -> Tensor:
        with below_autograd():
            loss, *saved = _op(*tensors, *options, needs)
        ctx.save_for_backward(*tensors, *saved)
        ctx.options, ctx.sparse, ctx.needs = options, sparse, needs
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors, saved = ctx.saved_tensors[:N_TENSORS], ctx.saved_tensors[N_TENSORS:]
        with recording_or_below_autograd():
            return (None, None, None, *_gradients(tensors, ctx.options, ctx.needs, saved, grad, ctx.sparse))


class _FunctionalLoss(torch.autograd.Function):
    """The form that torch.func transforms accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(options: tuple[Any, ...], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        return _op(*tensors, *options, _present(tensors))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.options, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        tensors, saved = ctx.saved_tensors[:N_TENSORS], ctx.saved_tensors[N_TENSORS:]
        needs = sum(1 << k for k, position in enumerate(DIFFERENTIABLE) if ctx.needs_input_grad[position + 1])
        return (None, *_gradients(tensors, ctx.options, needs, saved, grad))


def _compiled_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, ctx.options = inputs[:N_TENSORS], inputs[N_TENSORS:-1]
    ctx.needs = inputs[-1] & _present(tensors)
    required = [k for k, position in enumerate(DIFFERENTIABLE) if ctx.needs_input_grad[position]]
    missing = [DIFFERENTIABLE[k] for k in required if not ctx.needs >> k & 1]
    if missing:
        raise RuntimeError(f"mf_loss: needs={ctx.needs} leaves out arguments {missing}, which require grad")
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _compiled_backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    rest = (None,) * (len(ctx.options) + 1)
    if grad is None:
        return (None,) * N_TENSORS + rest
    tensors, saved = ctx.saved_tensors[:N_TENSORS], ctx.saved_tensors[N_TENSORS:]
    return (*_gradients(tensors, ctx.options, ctx.needs, saved, grad), *rest)


torch.library.register_autograd("debias_ext::mf_loss", _compiled_backward, setup_context=_compiled_context)


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
    validate: bool = True,
) -> Tensor:
    """Loss of the scores s = P[u].Q[i] + a[u] + b[i] + offset: gather, dot, row loss and its slopes in one pass.

    sum or mean over the batch of w ell(s, t), or, with pseudo targets p, of the doubly robust
    ell(s, p) + w (ell(s, t) - ell(s, p)), where w is 1 / q for an observed pair and 0 for another one.

    Args:
        user_factors: P, [U, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        item_factors: Q, [I, d], the dtype of user_factors.
        users: [B], int32 or int64, in [0, U).
        items: [B], the dtype of users, in [0, I).
        targets: t, [B], the dtype of user_factors, as all float tensors below.
        weights: w, [B], any sign; None means 1.
        user_bias: a, [U], or None.
        item_bias: b, [I], or None.
        offset: a number, or a 0-d tensor (which then gets a gradient), added to every score.
        loss: "mse", "mae" or "bce", as in `pointwise_loss`; "exposure", as `exposure_loss`, and "relmf", the log form
            of `relmf_loss`, where the targets are the clicks, in [0, 1].
        exposures: [B], for "exposure" in [0, 1], and not 0 where there is a click, for "relmf" in (0, 1]; None for
            the other losses.
        pseudo_targets: p, [B], or None; not with "exposure" and "relmf".
        reduction: "mean" over the batch (NaN of no pairs) or "sum".
        sparse_grad: give the tables coalesced sparse gradients, as in `mf_score`. Eager mode and first derivatives
            only.
        validate: on CUDA, check the indices, and clicks and exposures, at the price of synchronisations; an unchecked
            pair with an index out of range makes the loss NaN, and no row is read for it. On the CPU they are always
            checked.

    Returns:
        A 0-d tensor, the dtype of user_factors.

    Raises:
        ValueError: a shape, dtype, device or option other than the above, or a click or an exposure outside its range,
            NaN included; the message names the argument.
        IndexError: an index out of range; the message names the argument, the index and its position.

    Notes:
        Twice differentiable in all float tensors when sparse_grad is False. Neither gathered rows nor scores are kept:
        the forward pass saves one slope a pair. Any other NaN propagates. The same bits for every number of threads and
        every launch.

    Source:
        Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for Recommender Systems", eq. 5; with weights
        1 / q Schnabel et al. 2016, "Recommendations as Treatments", eq. 10; with pseudo targets Wang et al. 2019,
        "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random", eq. 6; the losses of clicks as
        in their own operators.
    """
    offset_tensor, offset_value = checked_offset(offset)
    check_tensors(
        user_factors=user_factors,
        item_factors=item_factors,
        users=users,
        items=items,
        targets=targets,
        weights=weights,
        user_bias=user_bias,
        item_bias=item_bias,
        offset=offset_tensor,
        exposures=exposures,
        pseudo_targets=pseudo_targets,
        optional=("weights", "user_bias", "item_bias", "offset", "exposures", "pseudo_targets"),
    )
    tables = (user_factors, item_factors, users, items, user_bias, item_bias, offset_tensor)
    tensors = (*tables, targets, weights, exposures, pseudo_targets)
    options = (offset_value, loss, reduction, validated(validate, users))
    if sparse_grad and (torch.compiler.is_compiling() or transforms_active()):
        raise RuntimeError("mf_loss: sparse_grad=True works in eager mode only, outside torch.func transforms")
    needs = needs_gradient(*(tensors[k] for k in DIFFERENTIABLE))
    if torch.compiler.is_compiling():
        return _op(*tensors, *options, needs)[0]
    if transforms_active():
        return _FunctionalLoss.apply(options, *tensors)[0]
    if needs == 0:
        return _op(*tensors, *options, 0)[0]
    return _EagerLoss.apply(options, sparse_grad, needs, *tensors)
