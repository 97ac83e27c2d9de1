"""Additive log-weights of users, items and labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext._autograd import below_autograd, needs_gradient, transforms_active
from debias_ext._inputs import check_tensors, number, validated

_weights = torch.ops.debias_ext.additive_weights.default
_backward = torch.ops.debias_ext.additive_weights_backward.default


@torch.library.register_fake("debias_ext::additive_weights")
def _fake_weights(user_table, item_table, label_table, users, items, labels, temperature, validate):
    return user_table.new_empty(users.shape)


@torch.library.register_fake("debias_ext::additive_weights_backward")
def _fake_backward(grad, weights, users, items, labels, user_rows, item_rows, label_rows, temperature, needs):
    present = needs if labels is not None else needs & 3
    rows = (user_rows, item_rows, label_rows)
    return tuple(grad.new_empty((size if present >> k & 1 else 0,)) for k, size in enumerate(rows))


class _WeightsBackward(torch.autograd.Function):
    """Three segment sums of grad * weights / T, bilinear in grad and weights, with a derivative of their own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, weights, users, items, labels, user_rows, item_rows, label_rows, temperature, needs):
        return _backward(grad, weights, users, items, labels, user_rows, item_rows, label_rows, temperature, needs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, _user_rows, _item_rows, _label_rows, ctx.temperature, ctx.needs = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        grad, weights, *indices = ctx.saved_tensors
        parts = [
            cotangent[index]
            for k, (cotangent, index) in enumerate(zip(cotangents, indices, strict=True))
            if cotangent is not None and index is not None and ctx.needs >> k & 1
        ]
        if not parts:
            return (None,) * 10
        total = sum(parts[1:], start=parts[0]) / ctx.temperature
        return (total * weights, total * grad, *[None] * 8)


def _gradients(ctx: Any, grad: Tensor) -> list[Tensor | None]:
    users, items, labels, weights = ctx.saved_tensors
    arguments = (grad.contiguous(), weights, users, items, labels, *ctx.rows, ctx.temperature, ctx.needs)
    sums = _WeightsBackward.apply(*arguments) if torch.is_grad_enabled() else _backward(*arguments)
    return [total if ctx.needs >> k & 1 else None for k, total in enumerate(sums)]


def _rows(*tables: Tensor | None) -> tuple[int, ...]:
    return tuple(0 if table is None else table.shape[0] for table in tables)


class _EagerWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx, needs, user_table, item_table, label_table, users, items, labels, temperature, validate):
        with below_autograd():
            weights = _weights(user_table, item_table, label_table, users, items, labels, temperature, validate)
        ctx.rows, ctx.temperature, ctx.needs = _rows(user_table, item_table, label_table), temperature, needs
        ctx.save_for_backward(users, items, labels, weights)
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return None, *_gradients(ctx, grad), None, None, None, None, None


class _FunctionalWeights(torch.autograd.Function):
    """The form that torch.func transforms accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(user_table, item_table, label_table, users, items, labels, temperature, validate):
        return _weights(user_table, item_table, label_table, users, items, labels, temperature, validate)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        tables, (users, items, labels), ctx.temperature = inputs[:3], inputs[3:6], inputs[6]
        ctx.rows = _rows(*tables)
        ctx.needs = sum(1 << k for k, table in enumerate(tables) if table is not None and ctx.needs_input_grad[k])
        ctx.save_for_backward(users, items, labels, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return *_gradients(ctx, grad), None, None, None, None, None


torch.library.register_autograd(
    "debias_ext::additive_weights", _FunctionalWeights.backward, setup_context=_FunctionalWeights.setup_context
)
torch.library.register_autograd(
    "debias_ext::additive_weights_backward", _WeightsBackward.backward, setup_context=_WeightsBackward.setup_context
)


def additive_weights(
    user_table: Tensor,
    item_table: Tensor,
    label_table: Tensor | None,
    users: Tensor,
    items: Tensor,
    labels: Tensor | None,
    *,
    temperature: float = 5.0,
    validate: bool = True,
) -> Tensor:
    """Sample weights w = exp((a[u] + b[i] + c[l]) / T) from three tables; the gradients are three segment sums.

    Args:
        user_table: a, [U], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        item_table: b, [I], the dtype of user_table.
        label_table: c, [L], the dtype of user_table: one entry for each label, observed or not, say. None leaves the
            term out.
        users: [B], int32 or int64, in [0, U).
        items: [B], the dtype of users, in [0, I).
        labels: [B], the dtype of users, in [0, L); given exactly when label_table is.
        temperature: T, positive. A fresh model, all zeros, weighs 1.
        validate: on CUDA, check the indices, at the price of synchronisations; unchecked rows with an index out of
            range weigh NaN and are never read. On the CPU indices are always checked.

    Returns:
        Weights, [B], the dtype of user_table.

    Raises:
        ValueError: a shape, dtype, device or temperature other than the above; the message names the argument.
        IndexError: an index out of range; the message names the argument, the index and its position.

    Notes:
        Differentiable in the tables, to every order. NaN in a table propagates to the samples of its row. Sums are made
        in float64, in an order that depends on the sizes alone: the same bits for every number of threads and every
        launch. The exponential is taken once for each table entry where the batch is larger than the tables. Memory
        for the backward pass on the CPU: float64 copies of the tables, at most 16, never more than half the batch but
        for the first.

    Source:
        Chen et al. 2021, "AutoDebias: Learning to Debias for Recommendation", section 4.2.
    """
    check_tensors(
        user_table=user_table,
        item_table=item_table,
        label_table=label_table,
        users=users,
        items=items,
        labels=labels,
        optional=("label_table", "labels"),
    )
    tensors = (user_table, item_table, label_table, users, items, labels)
    options = (number("temperature", temperature, "positive and finite"), validated(validate, users))
    if torch.compiler.is_compiling():
        return _weights(*tensors, *options)
    if transforms_active():
        return _FunctionalWeights.apply(*tensors, *options)
    needs = needs_gradient(user_table, item_table, label_table)
    if needs == 0:
        return _weights(*tensors, *options)
    return _EagerWeights.apply(needs, *tensors, *options)
