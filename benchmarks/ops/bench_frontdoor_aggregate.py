"""`frontdoor_aggregate`, forward and backward, against the plain form that holds every N x K x M x h value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from debias_ext import frontdoor_aggregate, reference

from ..harness import OURS, Benchmark, Case, Goal, Settings

TEACHERS, HIDDEN, SAMPLES = 8, 16, 1_024
LARGE_TEACHERS, LARGE_HIDDEN, LARGE_SAMPLES = 16, 32, 4_096
BY_SAMPLE = 8  # samples at a time: 67 MB of hidden values in the large case
EAGER, COMPILED, LOOP = "torch eager", "torch.compile", "torch by 8 samples"


def inputs(samples: int, teachers: int, hidden: int, settings: Settings) -> list[Tensor]:
    """Context, mediators, attention logits, and the two parts of the head, all with gradients."""
    place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}
    shapes = ((samples, hidden), (samples, teachers, hidden), (samples, teachers), (hidden,), (1,))
    return [torch.randn(shape, **place).requires_grad_() for shape in shapes]


def call(
    aggregate: Callable[..., Tensor], context: Tensor, mediators: Tensor, logits: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    return aggregate(context, mediators, None, (weight, bias), attention_logits=logits)


def with_gradients(function: Callable[..., Tensor], tensors: list[Tensor]) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        values = function(*tensors)
        return [values.detach(), *torch.autograd.grad(values.square().sum(), tensors)]

    return run


def plain(*tensors: Tensor) -> Tensor:
    return call(reference.frontdoor_aggregate, *tensors)


def fused(*tensors: Tensor) -> Tensor:
    return call(frontdoor_aggregate, *tensors)


def moved(tensors: list[Tensor]) -> int:
    return sum(2 * tensor.nbytes for tensor in tensors)


def build(samples: int, settings: Settings) -> Case:
    """Every sample's context is the whole batch, so the work grows with its square."""
    tensors = inputs(samples, TEACHERS, HIDDEN, settings)
    functions = {OURS: fused, EAGER: plain}
    if settings.compiled:
        functions[COMPILED] = torch.compile(plain, fullgraph=True, dynamic=False)
    return Case({name: with_gradients(f, tensors) for name, f in functions.items()}, moved(tensors), atol=1e-4)


def build_large(samples: int, settings: Settings) -> Case:
    """The plain form would hold 34 GB: it goes a few samples at a time."""
    tensors = inputs(samples, LARGE_TEACHERS, LARGE_HIDDEN, settings)

    def by_sample() -> list[Tensor]:
        context, mediators, logits, weight, bias = tensors
        values, context_grad, weight_grad, bias_grad, parts = [], 0, 0, 0, []
        for some in zip(mediators.split(BY_SAMPLE), logits.split(BY_SAMPLE), strict=True):
            leaves = [context, *(part.detach().requires_grad_() for part in some), weight, bias]
            out = plain(*leaves)
            grads = torch.autograd.grad(out.square().sum(), leaves)
            values.append(out.detach())
            context_grad, weight_grad, bias_grad = context_grad + grads[0], weight_grad + grads[3], bias_grad + grads[4]
            parts.append(grads[1:3])
        mediators_grad, logits_grad = (torch.cat(grads) for grads in zip(*parts, strict=True))
        return [torch.cat(values), context_grad, mediators_grad, logits_grad, weight_grad, bias_grad]

    alternatives = {OURS: with_gradients(fused, tensors), LOOP: by_sample}
    return Case(alternatives, moved(tensors), rtol=1e-3, atol=1e-3)


BENCHMARKS = [
    Benchmark(
        "frontdoor_aggregate",
        "N = M samples, 8 teachers, 16 hidden units, forward + backward",
        SAMPLES,
        build,
        {EAGER: Goal(45, 80), COMPILED: Goal(12, 20)},
    ),
]
