"""Front-door adjustment: the attention-weighted mean of a head over context samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from debias_ext import reference
from debias_ext._autograd import below_autograd, needs_gradient, transforms_active
from debias_ext._frontdoor_chunks import chunked_aggregate
from debias_ext._inputs import check_tensors, exactly_one, loss_inputs, validated

Options = tuple[bool, bool, Tensor | None]  # attention holds logits, exclude_self, context_index

_aggregate = torch.ops.debias_ext.frontdoor_aggregate.default
_backward = torch.ops.debias_ext.frontdoor_aggregate_backward.default


@torch.library.register_fake("debias_ext::frontdoor_aggregate")
def _fake_aggregate(context, mediators, attention, weight, bias, logits, exclude_self, context_index, validate):
    means = torch.float64 if context.dtype == torch.float64 else torch.float32
    return context.new_empty(mediators.shape[:1]), context.new_empty(mediators.shape[:2], dtype=means)


@torch.library.register_fake("debias_ext::frontdoor_aggregate_backward")
def _fake_backward(
    grad, means, context, mediators, attention, weight, bias, logits, exclude_self, context_index, needs
):
    tensors = (context, mediators, attention, weight, bias)
    return tuple(t.new_empty(t.shape if needs >> k & 1 else (0,)) for k, t in enumerate(tensors))


def _reference(tensors: tuple[Tensor, ...], options: Options) -> Tensor:
    context, mediators, attention, weight, bias = tensors
    logits, exclude_self, context_index = options
    return reference.frontdoor_aggregate(
        context,
        mediators,
        None if logits else attention,
        (weight, bias),
        attention_logits=attention if logits else None,
        exclude_self=exclude_self,
        context_index=context_index,
    )


class _Gradients(torch.autograd.Function):
    """The fused backward pass; its own derivative is that of the plain-torch form, N x K x M x h values."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, means, context, mediators, attention, weight, bias, logits, exclude_self, context_index, needs):
        tensors = (context, mediators, attention, weight, bias)
        return _backward(grad, means, *tensors, logits, exclude_self, context_index, needs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        grad, _, *tensors, ctx.logits, ctx.exclude_self, context_index, ctx.needs = inputs
        ctx.save_for_backward(grad, *tensors, context_index)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        grad, *tensors, context_index = ctx.saved_tensors
        options = (ctx.logits, ctx.exclude_self, context_index)
        given = [k for k, c in enumerate(cotangents) if c is not None and ctx.needs >> k & 1]
        if not given:
            return (None,) * 11

        def gradients(grad: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            every = torch.func.vjp(lambda *t: _reference(t, options), *tensors)[1](grad)
            return tuple(every[k] for k in given)

        pull_back = torch.func.vjp(gradients, grad, *tensors)[1]
        to_grad, *to_tensors = pull_back(tuple(cotangents[k] for k in given))
        return (to_grad, None, *to_tensors, None, None, None, None)


def _gradients(ctx: Any, grad: Tensor | None) -> list[Tensor | None]:
    if grad is None or ctx.needs == 0:
        return [None] * 5
    *tensors, context_index, means = ctx.saved_tensors
    arguments = (grad, means, *tensors, *ctx.options, context_index, ctx.needs)
    gradients = _Gradients.apply(*arguments) if torch.is_grad_enabled() else _backward(*arguments)
    return [gradient if ctx.needs >> k & 1 else None for k, gradient in enumerate(gradients)]


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: Options, validate: bool, needs: int, *tensors: Tensor) -> Tensor:
        with below_autograd():
            out, means = _aggregate(*tensors, *options, validate)
        ctx.options, ctx.needs = options[:2], needs
        ctx.save_for_backward(*tensors, options[2], means)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return (None, None, None, *_gradients(ctx, grad))


class _Functional(torch.autograd.Function):
    """The form that torch.func transforms accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(context, mediators, attention, weight, bias, logits, exclude_self, context_index, validate):
        return _aggregate(context, mediators, attention, weight, bias, logits, exclude_self, context_index, validate)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, logits, exclude_self, context_index, _ = inputs
        ctx.options = (logits, exclude_self)
        ctx.needs = sum(1 << k for k in range(5) if ctx.needs_input_grad[k])
        ctx.save_for_backward(*tensors, context_index, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
        return (*_gradients(ctx, grad), None, None, None, None)


torch.library.register_autograd(
    "debias_ext::frontdoor_aggregate", _Functional.backward, setup_context=_Functional.setup_context
)
torch.library.register_autograd(
    "debias_ext::frontdoor_aggregate_backward", _Gradients.backward, setup_context=_Gradients.setup_context
)


def _fused_head(head: object, activation: str) -> tuple[Any, ...] | None:
    """The weight and bias of a fused head, None for one that is called."""
    pair = tuple(head) if isinstance(head, (tuple, list)) else None
    if pair is None and not callable(head):
        raise ValueError(f"head must be a pair (weight, bias) or a callable, got {type(head).__name__}")
    if pair is not None and len(pair) != 2:
        raise ValueError(f"head must be a pair (weight, bias) or a callable, got {len(pair)} values")
    allowed, kind = (("relu", "identity"), "a callable") if pair is None else (("relu",), "a pair")
    if activation not in allowed:
        names = " or ".join(map(repr, allowed))
        raise ValueError(f"activation must be {names} for {kind} as head, got {activation!r}")
    return pair


def frontdoor_aggregate(
    context: Tensor,
    mediators: Tensor,
    attention: Tensor | None,
    head: tuple[Tensor, Tensor] | Callable[[Tensor], Tensor],
    *,
    attention_logits: Tensor | None = None,
    activation: str = "relu",
    exclude_self: bool = False,
    context_index: Tensor | None = None,
    validate: bool = True,
) -> Tensor:
    """Front-door aggregate sum_k alpha_ik mean_j sigmoid(v . relu(a_j + c_ik) + v0), never N x K x M in memory.

    The first layer of a predictor over [context; mediator; label] is linear in its parts, so the caller applies it to
    each part once: a_j to the context of sample j, c_ik to the mediator of teacher k (and the label) of sample i.

    Args:
        context: a, [M, h], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.
        mediators: c, [N, K, h], the dtype of context.
        attention: alpha, [N, K], the dtype of context, or None.
        head: (v, v0) of shapes [h] and [1] and the dtype of context. Or a callable, a torch.nn.Module say, from
            act(a_j + c_ik), [..., h], to logits [...] or [..., 1]: it is called on chunks of at most 4 million hidden
            values, and again in the backward pass.
        attention_logits: in place of attention: alpha = softmax(attention_logits) over the teachers.
        activation: "relu"; for a callable head also "identity".
        exclude_self: leave sample i out of its own mean.
        context_index: [M], int32 or int64 in [0, N): which sample each context row is, where the context was drawn from
            the samples (M other than N, repeats are fine); only with exclude_self. None: row j is sample j, and
            exclude_self then needs M == N.
        validate: on CUDA, check the values of context_index, at the price of one synchronisation; unchecked ones out of
            range are no sample's. On the CPU they are always checked.

    Returns:
        [N], the dtype of context. NaN for a sample that is left with no context row.

    Raises:
        ValueError: a shape, dtype, device or option other than the above; the message names the argument.
        IndexError: a context_index out of range; the message names the index and its position.

    Notes:
        Differentiable in context, mediators, attention (or its logits), v and v0; the backward pass computes the
        probabilities again, and forward and backward need memory for N K + M h values and a constant. The derivative of
        relu at 0 is 0. Second derivatives go through `debias_ext.reference`, with N K M h values. NaN propagates, to
        gradients only where a unit is active, as in torch. The same bits for every number of threads and every launch;
        a callable head has the determinism of its own operations.

    Source:
        Zhang et al. 2023, "Causal Distillation for Alleviating Performance Heterogeneity in Recommender Systems",
        eq. 10 and 14.
    """
    exactly_one("attention", attention, "attention_logits", attention_logits)
    name, weights = ("attention", attention) if attention_logits is None else ("attention_logits", attention_logits)
    pair = _fused_head(head, activation)
    named: dict[str, Any] = {"context": context, "mediators": mediators, name: weights}
    if pair is not None:
        named |= {"weight of head": pair[0], "bias of head": pair[1]}
    floats: list[Any] = loss_inputs(**named)
    if context_index is not None:
        check_tensors(context=context, context_index=context_index)
    options = (attention_logits is not None, bool(exclude_self), context_index)
    checks = validated(validate, context)
    if not isinstance(head, (tuple, list)):
        return chunked_aggregate(floats, head, activation, options, checks)
    if torch.compiler.is_compiling():
        return _aggregate(*floats, *options, checks)[0]
    if transforms_active():
        return _Functional.apply(*floats, *options, checks)[0]
    needs = needs_gradient(*floats)
    if needs == 0:
        return _aggregate(*floats, *options, checks)[0]
    return _Eager.apply(options, checks, needs, *floats)
