"""The loss after one assumed step, with hypergradients in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from debias_ext._autograd import RowLoss, Tensors, below_autograd, needs_gradient, transforms_active
from debias_ext._inputs import NOT_NEGATIVE, check_tensors, number, validated
from debias_ext.ops._fake import reduced_loss_outputs
from debias_ext.ops._lookahead_inputs import LOWER, ROWS, adam_of, block_of, rows_of

_op = torch.ops.debias_ext.lookahead_loss.default
_block_op = torch.ops.debias_ext.lookahead_block_loss.default


@torch.library.register_fake("debias_ext::lookahead_loss")
def _fake(*arguments):
    return reduced_loss_outputs(arguments[5], arguments[:5], arguments[-1])


@torch.library.register_fake("debias_ext::lookahead_block_loss")
def _fake_block(*arguments):
    return reduced_loss_outputs(arguments[9], arguments[:9], arguments[-1])


class _FirstOrder(torch.autograd.Function):
    """Gradients that must not be differentiated again: their derivative is not that of a constant."""

    generate_vmap_rule = True

    @staticmethod
    def forward(n: int, *gradients_and_tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if tensor is None else tensor.clone() for tensor in gradients_and_tensors[:n])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor | None) -> tuple[Any, ...]:
        raise RuntimeError("lookahead_loss: its gradients cannot be differentiated again")


class FirstOrderLoss(RowLoss):
    """A loss whose gradients come with it, and whose second derivatives raise."""

    def __call__(self, tensors: Tensors, options: tuple[Any, ...]) -> Tensor:
        if torch.compiler.is_compiling() or transforms_active():
            return super().__call__(tensors, options)
        leaves = tensors[: self.n_gradients]
        needs = needs_gradient(*leaves)
        if needs == 0:
            return self.operator(*tensors, *options, 0)[0]
        return _EagerFirstOrder.apply(self, tensors, options, needs, *leaves)

    def gradients(
        self, tensors: Tensors, options: tuple[Any, ...], needs: int, saved: Tensors, grad: Tensor
    ) -> list[Tensor | None]:
        first = _scaled(saved, needs, grad, tensors[: self.n_gradients])
        return first + [None] * (self.n_tensors - self.n_gradients)


class _EagerFirstOrder(torch.autograd.Function):
    """Holds the gradients, so that nothing else has to be saved."""

    @staticmethod
    def forward(
        ctx: Any, rule: RowLoss, tensors: Tensors, options: tuple[Any, ...], needs: int, *leaves: Tensor | None
    ):
        with below_autograd():
            loss, *ctx.gradients = rule.operator(*tensors, *options, needs)
        ctx.save_for_backward(*leaves)
        ctx.needs = needs
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return (None, None, None, None, *_scaled(ctx.gradients, ctx.needs, grad, ctx.saved_tensors))


def _scaled(saved: Tensors, needs: int, grad: Tensor, leaves: Tensors) -> list[Tensor | None]:
    first = [gradient * grad if needs >> k & 1 else None for k, gradient in enumerate(saved)]  # type: ignore[operator]
    return list(_FirstOrder.apply(len(first), *first, grad, *leaves)) if torch.is_grad_enabled() else first


_rule = FirstOrderLoss(_op, None, n_tensors=22, n_gradients=5)
_block_rule = FirstOrderLoss(_block_op, None, n_tensors=27, n_gradients=9)


def lookahead_loss(
    user_factors: Tensor,
    item_factors: Tensor,
    *,
    lower: Mapping[str, Any],
    upper: Mapping[str, Any],
    lr: float,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    l2: float = 0.0,
    assumed: str | Mapping[str, Any] = "sgd",
    validate: bool = True,
) -> Tensor:
    """The upper loss at theta' = theta - lr * d lower / d theta, differentiable in what the lower loss is made of.

    theta are the tables of a matrix-factorisation model, s = P[u].Q[i] + a[u] + b[i]. The gradient to a parameter phi
    of lower row k is -lr * (d2 ell_k / (ds dphi)) * D_k, where D_k is the change of score k along the gradient of the
    upper loss: no second backward pass, no copy of the tables, and theta' only where the upper batch reads it.

    Args:
        user_factors: P, [U, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        item_factors: Q, [I, d], the dtype of user_factors.
        lower: the loss of the step, a dict of
            users, items: [B], int32 or int64.
            targets: [B], the dtype of user_factors, as every float tensor below.
            loss: "mse" (default), "mae", "bce", "exposure" or "relmf" (its log form); reduction: "mean" (default) or
                "sum". The targets of the last two are clicks in [0, 1].
            weights, propensities in (0, 1], or propensity_logits: [B], at most one; clip_min or floor as in `ips_loss`.
            exposures in [0, 1], or exposure_logits: [B], for "exposure"; exposures, and clip_min, for "relmf".
            imputations: [B], makes the rows doubly robust, e(s, p) + (o / q) (e(s, t) - e(s, p)), with propensities
                and observed ([B], bool; default: all True). For "mse" they are residuals, p = stop(s) + imputations;
                for "bce" pseudo labels p. Targets and propensities of rows that are not observed are not read.
            missing: beside imputations, a dict of users, items, imputations ([M]) and scale (default 1): adds scale
                times the reduced e(s, p) of pairs outside the batch.
            block: a dict of users ([m]) and items ([n]), distinct, in which the batch lies: adds the sum over all their
                pairs of user_weight * item_weight * (s - value)^2, at a cost that does not grow with m * n. value: a
                number or a 0-d tensor; user_weight, item_weight: [m], [n] (default 1); weights and imputations: [B],
                replace the weight and the value at the pairs of the batch. Needs "mse" and "sum".
        upper: the loss that is returned: users, items ([V]), targets, loss, reduction, and the weights of its rows.
        lr: of the assumed step.
        user_bias: a, [U], or None.
        item_bias: b, [I], or None.
        l2: adds l2 / 2 times the squared norm of the distinct rows of the lower loss; biases are not decayed.
        assumed: "sgd", or the state of Adam: a dict of exp_avg and exp_avg_sq (dicts of tensors by the name of the
            table), step (how many were taken before), betas and eps; that step moves every row, as torch.optim.Adam.
        validate: on CUDA, check indices, propensities and exposures, at the price of synchronisations; on the CPU
            always. Unchecked, a lower row with an index out of range, or outside the block, is left out; an upper one
            makes the loss NaN, and so does one of the block where the upper batch meets the block. None is read.

    Returns:
        The upper loss, 0-d. Gradients flow to every float tensor in lower and upper; the tables get none.

    Raises:
        ValueError: an unknown key, or a shape, dtype, device or value other than the above; the message names it.
        IndexError: an index out of range; the message names the argument, the index and its position.
        RuntimeError: a second derivative is asked for.

    Notes:
        Memory is O(B + M + V + rows of the upper batch * d), with a block O((m + n) d + d^2) more; on the CPU each
        thread keeps a few MB of it for the next call. Lower rows whose user and item both do not occur in the upper
        batch have gradient 0 and are not read, but for the checks; any other NaN propagates. The same bits for every
        number of threads and every launch.

    Source:
        Chen et al. 2021, "AutoDebias: Learning to Debias for Recommendation", section 4; Wang et al. 2021, "Combating
        Selection Biases in Recommender Systems with a Few Unbiased Ratings" (LTD), eq. 9-14. The closed form is ours.
    """
    tables = (user_factors, item_factors, user_bias, item_bias)
    check_tensors(
        user_factors=user_factors,
        item_factors=item_factors,
        user_bias=user_bias,
        item_bias=item_bias,
        optional=("user_bias", "item_bias"),
    )
    below = rows_of("lower", lower, user_factors, LOWER)
    above = rows_of("upper", upper, user_factors, ROWS)
    moments, adam = adam_of(assumed, tables)
    detached = [None if table is None else table.detach() for table in tables]
    rest = (
        *above.options,
        number("lr", lr, NOT_NEGATIVE),
        number("l2", l2, NOT_NEGATIVE),
        *adam,
        validated(validate, user_factors),
    )
    if lower.get("block") is None:
        leaves = (below.targets, below.source, below.imputations, above.targets, above.source)
        indices = (below.users, below.items, below.observed, above.users, above.items)
        return _rule((*leaves, *detached, *indices, *moments), (*below.options, below.missing_scale, *rest))
    if below.imputations is not None:
        raise ValueError("lower['imputations'] must not be given with lower['block']")
    block, block_rows = block_of(lower["block"], user_factors)
    block_leaves = (below.targets, below.source, *block, above.targets, above.source)
    block_indices = (below.users, below.items, above.users, above.items, *block_rows)
    return _block_rule((*block_leaves, *detached, *block_indices, *moments), (*below.options, *rest))
