"""The second-order term of a factorisation machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debias_ext._autograd import below_autograd, transforms_active
from debias_ext._inputs import loss_inputs

_interaction = torch.ops.debias_ext.fm_interaction.default
_backward = torch.ops.debias_ext.fm_interaction_backward.default


@torch.library.register_fake("debias_ext::fm_interaction")
def _fake_interaction(fields):
    return fields.new_empty(fields.shape[:1])


@torch.library.register_fake("debias_ext::fm_interaction_backward")
def _fake_backward(grad, fields):
    return fields.new_empty(fields.shape)


class _Gradient(torch.autograd.Function):
    """grad (sum of the other fields), linear in grad and in the fields."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, fields):
        return _backward(grad, fields)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        grad, fields = ctx.saved_tensors
        to_grad = (cotangent * (fields.sum(1, keepdim=True) - fields)).sum((1, 2))
        return to_grad, _gradient(grad, cotangent)


def _gradient(grad: Tensor, fields: Tensor) -> Tensor:
    return _Gradient.apply(grad, fields) if torch.is_grad_enabled() else _backward(grad, fields)


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fields: Tensor) -> Tensor:
        ctx.save_for_backward(fields)
        with below_autograd():
            return _interaction(fields)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _gradient(grad, *ctx.saved_tensors)


class _Functional(torch.autograd.Function):
    """The form that torch.func transforms accept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(fields):
        return _interaction(fields)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _gradient(grad, *ctx.saved_tensors)


torch.library.register_autograd(
    "debias_ext::fm_interaction", _Functional.backward, setup_context=_Functional.setup_context
)
torch.library.register_autograd(
    "debias_ext::fm_interaction_backward", _Gradient.backward, setup_context=_Gradient.setup_context
)


def fm_interaction(fields: Tensor) -> Tensor:
    """Sum of the dot products of all pairs of fields, 1/2 sum((sum_f e_f)^2 - sum_f e_f^2), in F d operations.

    Args:
        fields: e, [B, F, d], float32 or float64; on CUDA float16 and bfloat16 as well, summed in float32.

    Returns:
        [B], the dtype of fields; 0 for fewer than two fields.

    Raises:
        ValueError: another dtype, or another number of dimensions.

    Notes:
        Differentiable to every order; the gradient of a field is the sum of the others. Computed as
        sum_g e_g . (e_0 + ... + e_(g-1)), where nothing cancels. The same bits for every number of threads and launch.

    Source:
        Rendle 2010, "Factorization Machines", lemma 3.1; Guo et al. 2017, "DeepFM", eq. 2.
    """
    (values,) = loss_inputs(fields=fields)
    assert values is not None
    if torch.compiler.is_compiling():
        return _interaction(values)
    if transforms_active():
        return _Functional.apply(values)
    return _Eager.apply(values) if values.requires_grad and torch.is_grad_enabled() else _interaction(values)
