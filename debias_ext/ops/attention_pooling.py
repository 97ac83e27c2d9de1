"""Target attention over a sequence: a small network weighs each position, and the weighted positions are summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from debias_ext._attention_layers import (
    Options,
    Pairs,
    checked_network,
    checked_statistics,
    plain_pooling,
    statistics_by_layer,
    wide_type,
)
from debias_ext._autograd import below_autograd, needs_gradient, transforms_active
from debias_ext._inputs import number, one_of, validated

_LANES = 16  # rows of hidden units are padded to a multiple
_pooling = torch.ops.debias_ext.attention_pooling.default
_backward = torch.ops.debias_ext.attention_pooling_backward.default


@torch.library.register_fake("debias_ext::attention_pooling")
def _fake_pooling(queries, keys, lengths, parameters, units, given_statistics, activation, epsilon, keep, validate):
    places = keys.shape[0] * keys.shape[1]
    of_batch = activation == "dice" and given_statistics is None
    hidden = places * sum(-(-out // _LANES) * _LANES for out in units[:-1]) if keep or of_batch else 0
    statistics = 2 * sum(units[:-1]) if of_batch else 0
    shapes = ((hidden,), keys.shape[:2], (statistics,))
    return torch.empty_like(queries), *(queries.new_empty(shape, dtype=wide_type(queries)) for shape in shapes)


@torch.library.register_fake("debias_ext::attention_pooling_backward")
def _fake_backward(
    grad,
    hidden,
    scores,
    statistics,
    queries,
    keys,
    lengths,
    parameters,
    units,
    batch_statistics,
    activation,
    epsilon,
    needs,
):
    tensors = (queries, keys, parameters)
    return tuple(t.new_empty(t.shape if needs >> k & 1 else (0,)) for k, t in enumerate(tensors))


class _Gradients(torch.autograd.Function):
    """The fused backward pass; its own derivative is that of the plain-torch form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, hidden, scores, statistics, queries, keys, lengths, parameters, *options):
        return _backward(grad, hidden, scores, statistics, queries, keys, lengths, parameters, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        grad, _, _, statistics, queries, keys, lengths, parameters, units, of_batch, activation, epsilon, needs = inputs
        ctx.save_for_backward(grad, statistics, queries, keys, lengths, parameters)
        ctx.units, ctx.of_batch, ctx.activation, ctx.epsilon, ctx.needs = units, of_batch, activation, epsilon, needs
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        grad, statistics, queries, keys, lengths, parameters = ctx.saved_tensors
        given = [k for k, c in enumerate(cotangents) if c is not None and ctx.needs >> k & 1]
        if not given:
            return (None,) * 13
        options = Options(ctx.units, None if ctx.of_batch else statistics, ctx.activation, ctx.epsilon)

        def gradients(grad: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            every = torch.func.vjp(lambda *t: plain_pooling(t, lengths, options), *tensors)[1](grad)
            return tuple(every[k] for k in given)

        pull_back = torch.func.vjp(gradients, grad, queries, keys, parameters)[1]
        to_grad, to_queries, to_keys, to_parameters = pull_back(tuple(cotangents[k] for k in given))
        return (to_grad, None, None, None, to_queries, to_keys, None, to_parameters, *[None] * 5)


def _save(ctx: Any, tensors: Sequence[Tensor], options: Options, needs: int, output: Sequence[Tensor]) -> None:
    ctx.units, given, ctx.activation, ctx.epsilon = options
    ctx.of_batch, ctx.needs = given is None, needs
    _, hidden, scores, statistics = output
    ctx.save_for_backward(hidden, scores, statistics if given is None else given, *tensors)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, grad: Tensor | None) -> list[Tensor | None]:
    """Of queries, keys, lengths and parameters."""
    if grad is None or ctx.needs == 0:
        return [None] * 4
    arguments = (grad, *ctx.saved_tensors, ctx.units, ctx.of_batch, ctx.activation, ctx.epsilon, ctx.needs)
    every = _Gradients.apply(*arguments) if torch.is_grad_enabled() else _backward(*arguments)
    queries, keys, parameters = (gradient if ctx.needs >> k & 1 else None for k, gradient in enumerate(every))
    return [queries, keys, None, parameters]


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: Options, validate: bool, needs: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        with below_autograd():
            output = _pooling(*tensors, *options, True, validate)
        _save(ctx, tensors, options, needs, output)
        ctx.mark_non_differentiable(output[3])
        return output[0], output[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
        return (None, None, None, *_gradients(ctx, grad))


class _Functional(torch.autograd.Function):
    """The form that torch.func transforms accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(queries, keys, lengths, parameters, *options):
        return _pooling(queries, keys, lengths, parameters, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        needs = sum(1 << k for k, at in enumerate((0, 1, 3)) if ctx.needs_input_grad[at])
        _save(ctx, inputs[:4], Options(*inputs[4:8]), needs, output)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
        return (*_gradients(ctx, grad), *[None] * 6)


torch.library.register_autograd(
    "debias_ext::attention_pooling", _Functional.backward, setup_context=_Functional.setup_context
)
torch.library.register_autograd(
    "debias_ext::attention_pooling_backward", _Gradients.backward, setup_context=_Gradients.setup_context
)


def attention_pooling(
    queries: Tensor,
    keys: Tensor,
    lengths: Tensor,
    layers: Pairs,
    *,
    activation: str = "dice",
    alphas: Sequence[Tensor] = (),
    statistics: Pairs | None = None,
    return_statistics: bool = False,
    epsilon: float = 1e-8,
    validate: bool = True,
) -> Tensor | tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Sums sum_t a_t k_t over the positions of a history, a_t = MLP([q, k_t, q - k_t, q * k_t]) without softmax.

    Args:
        queries: q, [B, d], float32 or float64; on CUDA float16 and bfloat16 as well, computed in float32.
        keys: k, [B, T, d], the dtype of queries.
        lengths: [B], int32 or int64 in [0, T]: positions t >= lengths[b] are not read, weigh nothing and get the
            gradient 0.
        layers: (weight, bias) of each layer as torch.nn.Linear holds them, in the dtype of queries: [h_1, 4 d] and
            [h_1], [h_2, h_1] and [h_2], ..., and a last one of 1 unit, linear. At least one hidden layer.
        activation: of the hidden layers: "dice", "relu" or "sigmoid".
        alphas: for "dice", one [h_l] for each hidden layer: x (p + alpha (1 - p)), p the sigmoid of x normalised.
        statistics: for "dice", (mean, variance), [h_l] each, for each hidden layer, constants: evaluation. None: those
            of the valid positions of this batch, through which gradients flow: training.
        return_statistics: return the statistics used as well.
        epsilon: added to the variances, positive.
        validate: on CUDA, check the values of lengths, at the price of one synchronisation; unchecked ones are clamped
            to [0, T]. On the CPU they are always checked.

    Returns:
        [B, d], the dtype of queries; 0 for an empty history. With return_statistics: that, and for "dice" a list of
        (mean, biased variance), without gradient; 0 and 1 for a batch without a valid position.

    Raises:
        ValueError: a shape, dtype, device or option other than the above; the message names the argument.
        IndexError: a length outside [0, T]; the message names it and its position.

    Notes:
        Differentiable in queries, keys, layers and alphas; second derivatives go through `debias_ext.reference`. Only
        the valid positions are computed. For the backward pass, and for the statistics of a batch, the pre-activations
        are kept, B T (h_1 + h_2 + ...) numbers, each h_l rounded up to a multiple of 16. The first layer is
        (Wq + Wd) q + ((Wk - Wd) + Wp diag(q)) k_t. NaN reaches its own sample, or with the batch's statistics every
        one. The same bits for every number of threads and every launch.

    Source:
        Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction", section 4.3 and eq. 3 and 9.
    """
    one_of("activation", activation, ("dice", "relu", "sigmoid"))
    network = checked_network(queries, keys, lengths, layers, alphas, activation)
    given = checked_statistics(statistics, network, activation)
    options = Options(network.units, given, activation, number("epsilon", epsilon, "positive and finite"))
    tensors, checks = network[:4], validated(validate, queries)
    needs = needs_gradient(network.queries, network.keys, network.parameters)
    if torch.compiler.is_compiling() or (needs == 0 and not transforms_active()):
        pooled, _, _, of_batch = _pooling(*tensors, *options, needs != 0, checks)
    elif transforms_active():
        pooled, _, _, of_batch = _Functional.apply(*tensors, *options, True, checks)
    else:
        pooled, of_batch = _Eager.apply(options, checks, needs, *tensors)
    if not return_statistics:
        return pooled
    used = (of_batch if given is None else given).detach()
    return pooled, statistics_by_layer(used, network.units) if activation == "dice" else []
