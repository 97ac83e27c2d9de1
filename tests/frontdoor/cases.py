"""Inputs of frontdoor_aggregate, and how it and its plain-torch twin are called with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

NAMES = ("context", "mediators", "attention", "weight", "bias")


@dataclass(frozen=True)
class Problem:
    """The five differentiable tensors, and the options."""

    tensors: tuple[Tensor, ...]
    logits: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def call(self, function: Callable[..., Tensor], *tensors: Tensor, **changes: Any) -> Tensor:
        context, mediators, attention, weight, bias = tensors or self.tensors
        given = {"attention_logits": attention} if self.logits else {}
        plain = None if self.logits else attention
        return function(context, mediators, plain, (weight, bias), **{**given, **self.options, **changes})

    def map(self, change: Callable[[Tensor], Tensor]) -> Problem:
        return replace(self, tensors=tuple(change(tensor) for tensor in self.tensors))

    def double(self) -> Problem:
        return self.map(lambda tensor: tensor.double())

    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(tensor.detach().clone().requires_grad_() for tensor in self.tensors)

    def value_and_gradients(self, function: Callable[..., Tensor]) -> list[Tensor]:
        """The value, and its gradients for a cotangent that is the same whatever the dtype."""
        leaves = self.leaves()
        value = self.call(function, *leaves)
        cotangent = torch.linspace(-1, 1, len(value)).bfloat16().to(value)
        return [value.detach(), *torch.autograd.grad(value, leaves, cotangent)]


def problem(
    samples: int = 5,
    teachers: int = 3,
    context: int = 7,
    hidden: int = 4,
    *,
    logits: bool = False,
    exclude: str = "",
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    index: torch.dtype = torch.int64,
    seed: int = 0,
) -> Problem:
    """Random arguments; exclude: "" nothing, "self" (needs context == samples), "index" by a sampled context_index.

    The weights have both signs, and one is zero.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).to(device)

    attention = normal(samples, teachers) if logits else normal(samples, teachers).abs()
    weight = normal(hidden)
    if hidden > 2:
        weight[1] = 0
    options: dict[str, Any] = {"exclude_self": True} if exclude else {}
    if exclude == "index":
        drawn = torch.randint(samples, (context,), generator=generator)
        drawn[:2] = torch.arange(min(2, context)) % samples  # no sample is every context row, if there are two
        options["context_index"] = drawn.to(index).to(device)
    return Problem(
        (normal(context, hidden), normal(samples, teachers, hidden), attention, weight, normal(1)), logits, options
    )


def assert_near(actual: list[Tensor], expected: list[Tensor], roundings: float, floor: float = 1e-2) -> None:
    """Within so many roundings of the actual dtype, of the largest value of each tensor and at least `floor`."""
    for name, a, b in zip(("value", *NAMES), actual, expected, strict=True):
        allowed = (
            roundings * torch.finfo(a.dtype).eps * max(floor, float(b.nan_to_num().abs().max()) if b.numel() else 0.0)
        )
        torch.testing.assert_close(
            a.double(), b.double(), rtol=0, atol=allowed, equal_nan=True, msg=lambda text, n=name: f"{n}: {text}"
        )
