"""Scores of a matrix-factorisation model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from debias_ext._autograd import below_autograd, needs_gradient, recording_or_below_autograd, transforms_active
from debias_ext._inputs import NUMBER_OR_TENSOR, check_tensors, number, validated

_score = torch.ops.debias_ext.mf_score.default
_backward = torch.ops.debias_ext.mf_score_backward.default
_backward_sparse = torch.ops.debias_ext.mf_score_backward_sparse.default


@torch.library.register_fake("debias_ext::mf_score")
def _fake_score(user_factors, item_factors, users, items, user_bias, item_bias, offset, offset_value, validate):
    return user_factors.new_empty(users.shape)


@torch.library.register_fake("debias_ext::mf_score_backward")
def _fake_backward(grad, user_factors, item_factors, users, items, needs):
    shapes = (user_factors.shape, item_factors.shape, user_factors.shape[:1], item_factors.shape[:1], ())
    return tuple(grad.new_empty(shape if needs >> k & 1 else (0,)) for k, shape in enumerate(shapes))


def _select(gradients: tuple[Tensor, ...], needs: int) -> list[Tensor | None]:
    return [gradient if needs >> k & 1 else None for k, gradient in enumerate(gradients)]


def _score_backward_gradients(
    cotangents: tuple[Tensor | None, ...], grad: Tensor, tables: tuple[Tensor, Tensor, Tensor, Tensor], needs: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The derivative of mf_score_backward, which is bilinear in grad and the tables: mf_score and its backward again.

    With cotangents (GP, GQ, Ga, Gb, Gmu): to grad_k  Q[i].GP[u] + P[u].GQ[i] + Ga[u] + Gb[i] + Gmu;
    to Q  sum_k grad_k GP[u_k];  to P  sum_k grad_k GQ[i_k].
    """
    user_factors, item_factors, users, items = tables
    gp, gq, ga, gb, offset = (c if needs >> k & 1 else None for k, c in enumerate(cotangents))
    to_grad, to_user_factors, to_item_factors = None, None, None
    if gp is not None or ga is not None or gb is not None:
        left = torch.zeros_like(user_factors) if gp is None else gp
        to_grad = mf_score(left, item_factors, users, items, ga, gb, validate=False)
    if gq is not None:
        other = mf_score(user_factors, gq, users, items, validate=False)
        to_grad = other if to_grad is None else to_grad + other
    if offset is not None:
        to_grad = offset.expand_as(grad) if to_grad is None else to_grad + offset
    if gp is not None:
        to_item_factors = _differentiable_backward(grad, gp, item_factors, users, items, 2)[1]
    if gq is not None:
        to_user_factors = _differentiable_backward(grad, user_factors, gq, users, items, 1)[0]
    return to_grad, to_user_factors, to_item_factors


class _ScoreBackward(torch.autograd.Function):
    """mf_score_backward with a derivative of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, user_factors, item_factors, users, items, needs):
        return _backward(grad, user_factors, item_factors, users, items, needs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        grad, *tables, ctx.needs = inputs
        ctx.save_for_backward(grad, *tables)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        grad, *tables = ctx.saved_tensors
        return (*_score_backward_gradients(cotangents, grad, tuple(tables), ctx.needs), None, None, None)


def _differentiable_backward(grad, user_factors, item_factors, users, items, needs: int) -> tuple[Tensor, ...]:
    if torch.is_grad_enabled():
        return _ScoreBackward.apply(grad, user_factors, item_factors, users, items, needs)
    return _backward(grad, user_factors, item_factors, users, items, needs)


def score_gradients(grad: Tensor, tables: Sequence[Tensor], needs: int) -> list[Tensor | None]:
    """Of the tables, the biases and the offset; None where `needs` has no bit.

    Args:
        grad: the cotangent of the scores.
        tables: user_factors, item_factors, users, items.
        needs: bit k for the k-th of user_factors, item_factors, user_bias, item_bias, offset.
    """
    user_factors, item_factors, users, items = tables
    gradients = _differentiable_backward(grad.contiguous(), user_factors, item_factors, users, items, needs)
    return _select(gradients, needs)


def sparse_score_gradients(grad: Tensor, tables: Sequence[Tensor], needs: int) -> list[Tensor | None]:
    """The same, coalesced sparse tensors but for the offset."""
    if torch.is_grad_enabled():
        raise RuntimeError("second derivatives need sparse_grad=False")
    user_factors, item_factors, users, items = tables
    user_rows, gp, ga, item_rows, gq, gb, offset = _backward_sparse(
        grad, user_factors, item_factors, users, items, needs
    )

    def table(rows: Tensor, values: Tensor, size: tuple[int, ...], bit: int) -> Tensor | None:
        if not needs >> bit & 1:
            return None
        return torch.sparse_coo_tensor(rows.unsqueeze(0), values, size, is_coalesced=True, check_invariants=False)

    return [
        table(user_rows, gp, tuple(user_factors.shape), 0),
        table(item_rows, gq, tuple(item_factors.shape), 1),
        table(user_rows, ga, tuple(user_factors.shape[:1]), 2),
        table(item_rows, gb, tuple(item_factors.shape[:1]), 3),
        offset if needs & 16 else None,
    ]


class _EagerScore(torch.autograd.Function):
    @staticmethod
    def forward(ctx, options, needs, user_factors, item_factors, users, items, user_bias, item_bias, offset):
        offset_value, validate, ctx.sparse = options
        ctx.needs = needs
        ctx.save_for_backward(user_factors, item_factors, users, items)
        tables = (user_factors, item_factors, users, items, user_bias, item_bias, offset)
        with below_autograd():
            return _score(*tables, offset_value, validate)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        gradients = sparse_score_gradients if ctx.sparse else score_gradients
        with recording_or_below_autograd():
            gp, gq, ga, gb, offset = gradients(grad, ctx.saved_tensors, ctx.needs)
        return None, None, gp, gq, None, None, ga, gb, offset


class _FunctionalScore(torch.autograd.Function):
    """The form that torch.func transforms accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(user_factors, item_factors, users, items, user_bias, item_bias, offset, offset_value, validate):
        return _score(user_factors, item_factors, users, items, user_bias, item_bias, offset, offset_value, validate)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        user_factors, item_factors, users, items, user_bias, item_bias, offset, *_ = inputs
        ctx.save_for_backward(user_factors, item_factors, users, items)
        given = (user_factors, item_factors, user_bias, item_bias, offset)
        ctx.needs = sum(1 << k for k, tensor in enumerate(given) if tensor is not None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        gp, gq, ga, gb, offset = score_gradients(grad, ctx.saved_tensors, ctx.needs)
        return gp, gq, None, None, ga, gb, offset, None, None


def _compiled_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.needs = sum(1 << k for k, position in enumerate((0, 1, 4, 5, 6)) if ctx.needs_input_grad[position])


def checked_offset(offset: float | Tensor) -> tuple[Tensor | None, float]:
    """As a tensor, or as a number beside None."""
    if isinstance(offset, Tensor):
        return offset, 0.0
    return None, number("offset", offset, expected=NUMBER_OR_TENSOR)


torch.library.register_autograd("debias_ext::mf_score", _FunctionalScore.backward, setup_context=_compiled_context)
torch.library.register_autograd(
    "debias_ext::mf_score_backward", _ScoreBackward.backward, setup_context=_ScoreBackward.setup_context
)


def mf_score(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    items: Tensor,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    *,
    offset: float | Tensor = 0.0,
    sparse_grad: bool = False,
    validate: bool = True,
) -> Tensor:
    """Matrix-factorisation scores s = P[u].Q[i] + a[u] + b[i] + offset, without [B, d] temporaries.

    Args:
        user_factors: P, [U, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        item_factors: Q, [I, d], the dtype of user_factors.
        users: [B], int32 or int64, in [0, U).
        items: [B], the dtype of users, in [0, I).
        user_bias: a, [U], or None.
        item_bias: b, [I], or None.
        offset: a number, or a 0-d tensor (which then gets a gradient), added to every score.
        sparse_grad: give the tables coalesced sparse gradients, in time and memory that do not depend on U and I. Eager
            mode and first derivatives only.
        validate: on CUDA, check the indices, at the price of a synchronisation; unchecked rows with an index out of
            range score NaN and are never read. On the CPU indices are always checked.

    Returns:
        Scores, [B], the dtype of user_factors.

    Raises:
        ValueError: a shape, dtype or device other than the above; the message names the argument.
        IndexError: an index out of range; the message names the argument, the index and its position.

    Notes:
        Twice differentiable in the tables, the biases and the offset when sparse_grad is False. Gradients are sums over
        the samples of a row in their order in the batch: the same bits for every number of threads and every launch.

    Source:
        Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for Recommender Systems", eq. 4.
    """
    offset_tensor, offset_value = checked_offset(offset)
    check_tensors(
        user_factors=user_factors,
        item_factors=item_factors,
        users=users,
        items=items,
        user_bias=user_bias,
        item_bias=item_bias,
        offset=offset_tensor,
        optional=("user_bias", "item_bias", "offset"),
    )
    checks = validated(validate, users)
    arguments = (user_factors, item_factors, users, items, user_bias, item_bias, offset_tensor)
    if torch.compiler.is_compiling():
        if sparse_grad:
            raise RuntimeError("mf_score: sparse_grad=True works in eager mode only")
        return _score(*arguments, offset_value, checks)
    if transforms_active():
        if sparse_grad:
            raise RuntimeError("mf_score: sparse_grad=True does not work under torch.func transforms")
        return _FunctionalScore.apply(*arguments, offset_value, checks)
    needs = needs_gradient(user_factors, item_factors, user_bias, item_bias, offset_tensor)
    if needs == 0:
        return _score(*arguments, offset_value, checks)
    return _EagerScore.apply((offset_value, checks, sparse_grad), needs, *arguments)
