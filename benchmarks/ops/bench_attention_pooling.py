"""`attention_pooling`, forward and backward, against the concatenated form over every position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from debias_ext import attention_pooling, reference

from ..harness import OURS, Benchmark, Case, Goal, Settings
from ._shared import COMPILED, EAGER

STEPS, WIDTH, UNITS = 50, 8, (64, 16, 1)


def build(batch: int, settings: Settings, activation: str = "dice") -> Case:
    """Full histories, so that both sides do the same work."""
    place: dict[str, Any] = {"generator": settings.generator(), "device": settings.device}

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(shape, **place)).requires_grad_()

    queries, keys = normal(batch, WIDTH), normal(batch, STEPS, WIDTH)
    inputs = (4 * WIDTH, *UNITS[:-1])
    layers = [(normal(out, size, scale=size**-0.5), normal(out)) for out, size in zip(UNITS, inputs, strict=True)]
    alphas = [normal(out) for out in UNITS[:-1]] if activation == "dice" else []
    lengths = torch.full((batch,), STEPS, device=settings.device)
    cotangent = torch.randn((batch, WIDTH), **place)
    leaves = [queries, keys, *alphas, layers[0][0], layers[-1][0]]

    def run(function: Callable[..., Any]) -> Callable[[], list[Tensor]]:
        def both() -> list[Tensor]:
            value = function(queries, keys, lengths, layers, activation=activation, alphas=alphas)
            gradients = torch.autograd.grad(value, [*leaves, *layers[0], *layers[1], *layers[2]], cotangent)
            return [value.detach(), *gradients[:2]]  # sums over 200,000 positions differ in float32

        return both

    calls = {OURS: run(attention_pooling), EAGER: run(reference.attention_pooling)}
    if settings.compiled:
        calls[COMPILED] = run(torch.compile(reference.attention_pooling, fullgraph=True, dynamic=False))
    moved = 2 * (queries.nbytes + keys.nbytes) + 2 * cotangent.nbytes
    return Case(calls, moved, rtol=1e-3, atol=1e-3)


def relu(batch: int, settings: Settings) -> Case:
    return build(batch, settings, "relu")


BENCHMARKS = [
    Benchmark(
        "attention_pooling",
        "histories of 50, d = 8, 64 and 16 Dice units, forward + backward",
        4_096,
        build,
        {EAGER: Goal(3, 8), COMPILED: Goal(1.2, 3)},
    ),
    Benchmark(
        "attention_pooling_relu",
        "histories of 50, d = 8, 64 and 16 ReLU units, forward + backward",
        4_096,
        relu,
        {EAGER: Goal(3, 5), COMPILED: Goal(1.2, 3)},
    ),
]
