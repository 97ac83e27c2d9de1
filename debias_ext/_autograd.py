"""One derivative rule, three ways into autograd.

- eager: a plain `torch.autograd.Function`, the cheapest one;
- under `torch.func` transforms: a Function with `setup_context`, the only form that they accept;
- under `torch.compile`, and for calls of `torch.ops.debias_ext.*` by hand: `torch.library.register_autograd`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

Tensors = Sequence[Tensor | None]


# Inside an eager Function the registered rule has nothing to do: going past it saves its Python layer, 6 us a call.
below_autograd = torch._C._AutoDispatchBelowAutograd


def recording_or_below_autograd() -> AbstractContextManager[object]:
    """For an eager backward pass: below autograd, unless it is itself differentiated."""
    return nullcontext() if torch.is_grad_enabled() else below_autograd()


def transforms_active() -> bool:
    """True inside torch.func.grad, vjp, jvp or vmap, and inside forward_ad.dual_level, which must not be overlooked."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def needs_gradient(*tensors: Tensor | None) -> int:
    """Bit k is set when the k-th tensor needs a gradient: the `needs` argument of the operators."""
    if not torch.is_grad_enabled() and not transforms_active():
        return 0
    needs = 0
    for k, tensor in enumerate(tensors):
        if tensor is not None and tensor.requires_grad:
            needs |= 1 << k
    return needs


def differentiable_gradients(
    reference: Callable[..., Tensor], tensors: Tensors, needs: int, grad_output: Tensor
) -> list[Tensor | None]:
    """Gradients of `reference(*tensors)` as differentiable functions of the tensors and of `grad_output`.

    What a backward pass returns when it is itself differentiated; the fused kernels serve the first order only.
    """
    wanted = [k for k in range(len(tensors)) if needs >> k & 1]

    def of_wanted(*values: Tensor) -> Tensor:
        arguments = list(tensors)
        for k, value in zip(wanted, values, strict=True):
            arguments[k] = value
        return reference(*arguments)

    pull_back = torch.func.vjp(of_wanted, *[tensors[k] for k in wanted])[1]
    gradients: list[Tensor | None] = [None] * len(tensors)
    for k, gradient in zip(wanted, pull_back(grad_output), strict=True):
        gradients[k] = gradient
    return gradients


class RowLoss:
    """A row loss `operator(*tensors, *options, needs) -> (loss, gradients…)` made differentiable, twice.

    Args:
        operator: the overload `torch.ops.debias_ext.<name>.default`.
        reference: the same in plain torch, called as `reference(*tensors, *options)`; used for second derivatives. None
            for a subclass with `gradients` of its own.
        n_tensors: how many leading arguments are tensors (None is allowed for optional ones).
        n_gradients: how many of these, from the first on, have a gradient.
    """

    def __init__(
        self, operator: Any, reference: Callable[..., Tensor] | None, *, n_tensors: int, n_gradients: int
    ) -> None:
        self.operator = operator
        self.reference = reference
        self.n_tensors = n_tensors
        self.n_gradients = n_gradients
        self._functional = _functional_row_loss(self)
        torch.library.register_autograd(
            operator.name().removesuffix(".default"), self._compiled_backward, setup_context=self._compiled_context
        )

    def __call__(self, tensors: Tensors, options: tuple[Any, ...]) -> Tensor:
        needs = needs_gradient(*tensors[: self.n_gradients])
        if torch.compiler.is_compiling():
            return self.operator(*tensors, *options, needs)[0]
        if transforms_active():
            return self._functional.apply(options, *tensors)[0]
        if needs == 0:
            return self.operator(*tensors, *options, 0)[0]
        return _EagerRowLoss.apply(self, options, needs, *tensors)

    def gradients(
        self, tensors: Tensors, options: tuple[Any, ...], needs: int, saved: Sequence[Tensor], grad: Tensor
    ) -> list[Tensor | None]:
        """One per tensor: the saved gradients times `grad`, or differentiable ones where autograd records."""
        if torch.is_grad_enabled():
            reference = self.reference
            assert reference is not None
            return differentiable_gradients(lambda *t: reference(*t, *options), tensors, needs, grad)
        return [saved[k] * grad if needs >> k & 1 else None for k in range(self.n_tensors)]

    def _compiled_context(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        tensors, ctx.options, ctx.needs = inputs[: self.n_tensors], inputs[self.n_tensors : -1], inputs[-1]
        missing = [k for k in range(self.n_gradients) if ctx.needs_input_grad[k] and not ctx.needs >> k & 1]
        if missing:
            raise RuntimeError(
                f"{self.operator.name()}: needs={ctx.needs} leaves out arguments {missing}, which require grad"
            )
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    def _compiled_backward(self, ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * (self.n_tensors + len(ctx.options) + 1)
        tensors, saved = ctx.saved_tensors[: self.n_tensors], ctx.saved_tensors[self.n_tensors :]
        gradients = self.gradients(tensors, ctx.options, ctx.needs, saved, grad)
        return (*gradients, *[None] * (len(ctx.options) + 1))


class _EagerRowLoss(torch.autograd.Function):
    """Keeps the gradients that the forward pass made, and hands them over instead of filling second buffers."""

    @staticmethod
    def forward(ctx: Any, rule: RowLoss, options: tuple[Any, ...], needs: int, *tensors: Tensor | None) -> Tensor:
        with below_autograd():
            loss, *gradients = rule.operator(*tensors, *options, needs)
        ctx.save_for_backward(*tensors)
        ctx.rule, ctx.options, ctx.needs, ctx.gradients = rule, options, needs, gradients
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        rule, tensors = ctx.rule, ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, None, None, *rule.gradients(tensors, ctx.options, ctx.needs, (), grad))
        saved, ctx.gradients = ctx.gradients, None
        if saved is None:  # a second backward pass: the first one gave its buffers away
            saved = rule.operator(*tensors, *ctx.options, ctx.needs)[1:]
        if not torch._C._has_storage(grad):  # a batch of cotangents (is_grads_batched)
            return (None, None, None, *rule.gradients(tensors, ctx.options, ctx.needs, saved, grad))
        unit = grad.is_cpu and grad.dim() == 0 and grad.item() == 1.0
        gradients: list[Tensor | None] = [None] * (3 + rule.n_tensors)
        for k in range(rule.n_gradients):
            if ctx.needs >> k & 1:
                gradients[3 + k] = saved[k] if unit else saved[k].mul_(grad)
        return tuple(gradients)


def _functional_row_loss(rule: RowLoss) -> type[torch.autograd.Function]:
    every = (1 << rule.n_gradients) - 1

    class FunctionalRowLoss(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(options: tuple[Any, ...], *tensors: Tensor | None) -> tuple[Tensor, ...]:
            present = sum(1 << k for k, tensor in enumerate(tensors) if tensor is not None)
            return rule.operator(*tensors, *options, every & present)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            ctx.options, *tensors = inputs
            ctx.save_for_backward(*tensors, *output[1:])
            ctx.mark_non_differentiable(*output[1:])

        @staticmethod
        def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
            tensors, saved = ctx.saved_tensors[: rule.n_tensors], ctx.saved_tensors[rule.n_tensors :]
            needs = sum(1 << k for k in range(rule.n_gradients) if ctx.needs_input_grad[k + 1])
            return (None, *rule.gradients(tensors, ctx.options, needs, saved, grad))

    return FunctionalRowLoss
