"""Losses over all pairs of a user block and an item block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import RowLoss
from debias_ext._block_targets import ConstantTarget, DRTarget, FactorTables, InterDTarget, Rated
from debias_ext._inputs import NUMBER_OR_TENSOR, loss_inputs, number, validated
from debias_ext.ops._fake import reduced_loss_outputs

_constant_op = torch.ops.debias_ext.block_constant.default
_imputation_op = torch.ops.debias_ext.block_imputation.default
_interd_op = torch.ops.debias_ext.block_interd.default
_SHARED, _CONSTANT = 6, 11  # differentiable arguments


@torch.library.register_fake("debias_ext::block_constant")
def _fake_constant(*arguments):
    return reduced_loss_outputs(arguments[0], arguments[:_CONSTANT], arguments[-1])


@torch.library.register_fake("debias_ext::block_imputation")
def _fake_imputation(*arguments):
    return reduced_loss_outputs(arguments[0], arguments[:_SHARED], arguments[-1])


@torch.library.register_fake("debias_ext::block_interd")
def _fake_interd(*arguments):
    return reduced_loss_outputs(arguments[0], arguments[:_SHARED], arguments[-1])


def _reference(tables: tuple[Any, ...], rated: tuple[Any, ...], unobserved: Any, reduction: str) -> Tensor:
    user_factors, item_factors, user_bias, item_bias = tables
    return reference.block_loss(
        user_factors,
        item_factors,
        user_bias=user_bias,
        item_bias=item_bias,
        rated=rated,
        unobserved=unobserved,
        reduction=reduction,
    )


def _constant_reference(*arguments: Any) -> Tensor:
    targets, weights, value, user_weight, item_weight, rated_weights, rated_values = arguments[4:_CONSTANT]
    rows, columns, value_number, replace, reduction, _ = arguments[_CONSTANT:]
    unobserved = ConstantTarget(
        value_number if value is None else value,
        user_weight,
        item_weight,
        "replace" if replace else "join",
        rated_weights,
        rated_values,
    )
    return _reference(arguments[:4], (rows, columns, targets, weights), unobserved, reduction)


def _imputation_reference(*arguments: Any) -> Tensor:
    targets, weights, rows, columns, *imputation = arguments[4:12]
    labels, reduction, _ = arguments[12:]
    unobserved = DRTarget(FactorTables(*imputation), "label" if labels else "residual")
    return _reference(arguments[:4], (rows, columns, targets, weights), unobserved, reduction)


def _interd_reference(*arguments: Any) -> Tensor:
    targets, weights, rows, columns = arguments[4:8]
    gamma, beta, variant, detach_target, reduction, _ = arguments[16:]
    teachers = FactorTables(*arguments[8:12]), FactorTables(*arguments[12:16])
    unobserved = InterDTarget(*teachers, gamma, beta, variant, detach_target)
    return _reference(arguments[:4], (rows, columns, targets, weights), unobserved, reduction)


_constant_rule = RowLoss(_constant_op, _constant_reference, n_tensors=13, n_gradients=_CONSTANT)
_imputation_rule = RowLoss(_imputation_op, _imputation_reference, n_tensors=12, n_gradients=_SHARED)
_interd_rule = RowLoss(_interd_op, _interd_reference, n_tensors=16, n_gradients=_SHARED)
_OPTIONAL = ("user_bias", "item_bias")


def _constants(name: str, tables: Any) -> dict[str, Tensor | None]:
    """The tables of a model that is not trained here, by the names that messages use."""
    try:
        named = FactorTables(*tables)._asdict()
    except TypeError:
        raise ValueError(
            f"unobserved.{name} must be FactorTables or (user_factors, item_factors, user_bias, item_bias), "
            f"got {type(tables).__name__}"
        ) from None
    for part, tensor in named.items():
        if torch.is_grad_enabled() and isinstance(tensor, Tensor) and tensor.requires_grad:
            raise ValueError(f"unobserved.{name}.{part} is a constant of this loss and gets no gradient: detach it")
    return {f"unobserved.{name}.{part}": tensor for part, tensor in named.items()}


def _rated(rated: Any) -> tuple[Any, ...]:
    if not isinstance(rated, (tuple, list)) or len(rated) not in (3, 4):
        got = f"{len(rated)} values" if isinstance(rated, (tuple, list)) else type(rated).__name__
        raise ValueError(f"rated must be (rows, columns, targets) or (rows, columns, targets, weights), got {got}")
    return tuple(rated) if len(rated) == 4 else (*rated, None)


def block_loss(
    user_factors: Tensor,
    item_factors: Tensor,
    *,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    rated: Rated,
    unobserved: ConstantTarget | DRTarget | InterDTarget,
    reduction: str = "sum",
    validate: bool = True,
) -> Tensor:
    """Loss of all pairs of a user block and an item block, and of the rated ones, without a matrix of m x n.

    With s_ui = P[u].Q[i] + a[u] + b[i], sum_rated w_k (s_k - t_k)^2 plus what `unobserved` says of the other pairs, or
    of all of them. `ConstantTarget` and the residual form of `DRTarget` take O((m + n) d^2 + rated d) operations,
    through Gram matrices in float64; `InterDTarget` and the label form visit every pair, tile by tile.

    Args:
        user_factors: P, [m, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        item_factors: Q, [n, d], the dtype of user_factors.
        user_bias: a, [m], or None.
        item_bias: b, [n], or None.
        rated: (rows, columns, targets) or (rows, columns, targets, weights). rows in [0, m) and columns in [0, n),
            int32 or int64, in any order (fastest sorted by row, then column); targets and weights (1 when not given)
            with the dtype of user_factors. A pair that is listed twice counts twice here, and leaves the unobserved
            pairs once.
        unobserved: `ConstantTarget` (AutoDebias and whole-data losses), `DRTarget` (doubly robust joint learning) or
            `InterDTarget`; the rated weights of `DRTarget` are the inverse propensities.
        reduction: "sum", or "mean" over the m n pairs of the block (NaN of no pairs).
        validate: on CUDA, check rows and columns, at the price of a synchronisation; unchecked pairs out of range make
            the loss NaN and read nothing. On the CPU they are always checked.

    Returns:
        A 0-d tensor.

    Raises:
        ValueError: a shape, dtype, device or option other than the above, or tables of a teacher or an imputation model
            that require a gradient; the message names the argument.
        IndexError: a row or column out of range.

    Notes:
        The gradients to the tables, the biases, the rated targets and weights, and to every tensor of `ConstantTarget`
        are made together with the value. Second derivatives run through plain torch, and take memory of m x n. NaN in a
        float argument propagates. The same bits for every number of threads and every launch. Memory beside the
        gradients is a few copies of the tables and of the rated pairs' indices.

    Source:
        Chen et al. 2021, "AutoDebias: Learning to Debias for Recommendation", the risk with w1, w2 and m; Wang et al.
        2019, "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random", eq. 6; Ding et al. 2022,
        "Interpolative Distillation for Unifying Biased and Debiased Recommendation", eq. 7 and 8.
    """
    rows, columns, targets, weights = _rated(rated)
    named: dict[str, Any] = {
        "user_factors": user_factors,
        "item_factors": item_factors,
        "user_bias": user_bias,
        "item_bias": item_bias,
        "rated targets": targets,
        "rated weights": weights,
    }
    places = {"rated rows": rows, "rated columns": columns}
    optional = ["user_bias", "item_bias", "rated weights"]
    options: tuple[Any, ...]
    if isinstance(unobserved, ConstantTarget):
        rule = _constant_rule
        tensor_value = unobserved.value if isinstance(unobserved.value, Tensor) else None
        constant = {
            "unobserved.value": tensor_value,
            "unobserved.user_weight": unobserved.user_weight,
            "unobserved.item_weight": unobserved.item_weight,
            "unobserved.rated_weights": unobserved.rated_weights,
            "unobserved.rated_values": unobserved.rated_values,
        }
        optional += constant
        if unobserved.rated not in ("join", "replace"):
            raise ValueError(f"unobserved.rated must be 'join' or 'replace', got {unobserved.rated!r}")
        named |= constant | places
        value = 0.0
        if tensor_value is None:
            value = number("unobserved.value", unobserved.value, expected=NUMBER_OR_TENSOR)
        options = (value, unobserved.rated == "replace")
    elif isinstance(unobserved, DRTarget):
        rule = _imputation_rule
        if unobserved.form not in ("residual", "label"):
            raise ValueError(f"unobserved.form must be 'residual' or 'label', got {unobserved.form!r}")
        named |= places | _constants("imputation", unobserved.imputation)
        optional += (f"unobserved.imputation.{bias}" for bias in _OPTIONAL)
        options = (unobserved.form == "label",)
    elif isinstance(unobserved, InterDTarget):
        rule = _interd_rule
        named |= places | _constants("biased", unobserved.biased) | _constants("debiased", unobserved.debiased)
        optional += (f"unobserved.{teacher}.{bias}" for teacher in ("biased", "debiased") for bias in _OPTIONAL)
        gamma, beta = number("unobserved.gamma", unobserved.gamma), number("unobserved.beta", unobserved.beta)
        options = (gamma, beta, unobserved.variant, unobserved.detach_target)
    else:
        raise ValueError(
            f"unobserved must be a ConstantTarget, DRTarget or InterDTarget, got {type(unobserved).__name__}"
        )
    tensors = loss_inputs(optional=optional, **named)
    return rule(tensors, (*options, reduction, validated(validate, user_factors)))
