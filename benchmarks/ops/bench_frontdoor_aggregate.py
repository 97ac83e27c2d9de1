"""`frontdoor_aggregate`, forward and backward, against the plain form that holds every N x K x M x h value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from debias_ext import frontdoor_aggregate, reference

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import COMPILED, EAGER

TEACHERS, HIDDEN, SAMPLES = 8, 16, 1_024
MANY_TEACHERS, WIDE, MANY = 16, 32, 4_096  # eager would hold 34 GB
NAMES = ("context", "mediators", "attention_logits", "weight", "bias")


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
        gradients = dict(zip(NAMES, torch.autograd.grad(values.square().sum(), tensors), strict=True))
        # Eager sums 8 million terms in float32 and is off by up to 1%; tests hold ours to the float64 reference.
        del gradients["weight"]
        return [values.detach(), *gradients.values()]

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
    calls = {name: with_gradients(function, tensors) for name, function in functions.items()}
    return Case(calls, moved(tensors), atol=1e-4)


def large(samples: int, settings: Settings) -> Case:
    """Alone: the plain form needs 34 GB."""
    tensors = inputs(samples, MANY_TEACHERS, WIDE, settings)
    return Case({OURS: with_gradients(fused, tensors)}, moved(tensors))


BENCHMARKS = [
    Benchmark(
        "frontdoor_aggregate",
        "N = M samples, 8 teachers, 16 hidden units, forward + backward",
        SAMPLES,
        build,
        {EAGER: Goal(45, 80), COMPILED: Goal(12, 20)},
    ),
    Benchmark(
        "frontdoor_aggregate_large",
        "N = M samples, 16 teachers, 32 hidden units, forward + backward",
        MANY,
        large,
        peak_bytes=200_000_000,
    ),
]
