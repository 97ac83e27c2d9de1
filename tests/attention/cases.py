"""Inputs of attention_pooling, and how it and its plain-torch twin are called with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

ACTIVATIONS = ("relu", "sigmoid", "dice", "dice, given")  # the last one with constant statistics


@dataclass(frozen=True)
class Problem:
    """The differentiable tensors: queries, keys, weight and bias of each layer, then alphas; and the rest."""

    tensors: tuple[Tensor, ...]
    lengths: Tensor
    hidden: int
    activation: str
    statistics: list[tuple[Tensor, Tensor]] | None = None

    def call(self, function: Callable[..., Any], *tensors: Tensor, **changes: Any) -> Any:
        queries, keys, *rest = tensors or self.tensors
        last = 2 * (self.hidden + 1)
        arguments = {
            "queries": queries,
            "keys": keys,
            "lengths": self.lengths,
            "layers": list(zip(rest[:last:2], rest[1:last:2], strict=True)),
            "activation": self.activation,
            "alphas": rest[last:],
            "statistics": self.statistics,
        }
        return function(**{**arguments, **changes})

    def map(self, change: Callable[[Tensor], Tensor]) -> Problem:
        statistics = self.statistics and [(change(mean), change(variance)) for mean, variance in self.statistics]
        return replace(self, tensors=tuple(map(change, self.tensors)), statistics=statistics)

    def double(self) -> Problem:
        return self.map(lambda tensor: tensor.double())

    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(tensor.detach().clone().requires_grad_() for tensor in self.tensors)

    def value_and_gradients(self, function: Callable[..., Any]) -> list[Tensor]:
        """The value, the statistics used, and the gradients for a cotangent that is the same whatever the dtype."""
        leaves = self.leaves()
        value, statistics = self.call(function, *leaves, return_statistics=True)
        cotangent = torch.linspace(-1, 1, value.numel() + 1)[1:].bfloat16().to(value).view_as(value)
        flat = [tensor for pair in statistics for tensor in pair]
        return [value.detach(), *flat, *torch.autograd.grad(value, leaves, cotangent)]


def problem(
    batch: int = 5,
    steps: int = 7,
    width: int = 3,
    hidden: tuple[int, ...] = (6, 4),
    activation: str = "dice",
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    index: torch.dtype = torch.int64,
    seed: int = 0,
) -> Problem:
    """Random arguments: histories of every length from none to all steps, if there are samples enough."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype).to(device)

    inputs, units = (4 * width, *hidden), (*hidden, 1)
    layers = [
        (normal(out, size, scale=max(size, 1) ** -0.5), normal(out)) for out, size in zip(units, inputs, strict=True)
    ]
    lengths = torch.randperm(max(batch, steps + 1), generator=generator)[:batch] % (steps + 1)
    kind, _, given = activation.partition(", ")
    alphas = [normal(out) for out in hidden] if kind == "dice" else []
    statistics = [(normal(out), normal(out).square() + 0.1) for out in hidden] if given else None
    flat = (tensor for layer in layers for tensor in layer)
    tensors = (normal(batch, width), normal(batch, steps, width), *flat, *alphas)
    return Problem(tensors, lengths.to(index).to(device), len(hidden), kind, statistics)


def assert_near(actual: list[Tensor], expected: list[Tensor], roundings: float, floor: float = 1e-2) -> None:
    """Within so many roundings of the actual dtype, of the largest value of each tensor and at least `floor`."""
    for k, (a, b) in enumerate(zip(actual, expected, strict=True)):
        largest = float(b.nan_to_num().abs().max()) if b.numel() else 0.0
        allowed = roundings * torch.finfo(a.dtype).eps * max(floor, largest)
        torch.testing.assert_close(
            a.double(), b.double(), rtol=0, atol=allowed, equal_nan=True, msg=lambda text, k=k: f"output {k}: {text}"
        )
