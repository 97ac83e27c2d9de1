"""Sample blocks: what `block_loss` is called with, and its plain-torch twin in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import debias_ext
from debias_ext import ConstantTarget, DRTarget, FactorTables, InterDTarget, reference
from debias_ext.reference._losses import interd_epsilon

TABLES = ("user_factors", "item_factors", "user_bias", "item_bias")
RATED = (*TABLES, "targets", "weights")
WEIGHTS = ("value", "user_weight", "item_weight")
DIFFERENTIABLE = {
    "plain": ("user_factors", "item_factors", "targets"),
    "join": (*RATED, *WEIGHTS),
    "replace": (*RATED, *WEIGHTS),
    "own": (*RATED, *WEIGHTS, "rated_weights", "rated_values"),
    "residual": RATED,
    "label": RATED,
    "soft": RATED,
    "hard": RATED,
    "zero": RATED,
    "attached": RATED,
}
KINDS = tuple(DIFFERENTIABLE)
DETACHED = ("residual", "soft")  # the gradient is not that of the value, by design
CONSTANTS = tuple(f"{model}_{part}" for model in ("first", "second") for part in TABLES)


@dataclass(frozen=True)
class Block:
    """One call: `fused()` and `reference()` take the same tensors, some of them replaced by keyword arguments."""

    kind: str
    tensors: dict[str, Tensor]

    def unobserved(self, tensors: dict[str, Any]) -> ConstantTarget | DRTarget | InterDTarget:
        if self.kind == "plain":
            return ConstantTarget(-0.5)
        if self.kind in ("join", "replace", "own"):
            own = (tensors["rated_weights"], tensors["rated_values"]) if self.kind == "own" else (None, None)
            rated = "replace" if self.kind == "replace" else "join"
            return ConstantTarget(*(tensors[name] for name in WEIGHTS), rated, *own)
        first, second = (FactorTables(*(tensors[f"{m}_{part}"] for part in TABLES)) for m in ("first", "second"))
        if self.kind in ("residual", "label"):
            return DRTarget(first, self.kind)
        variant = "soft" if self.kind == "attached" else self.kind
        return InterDTarget(first, second, -0.7, 0.3, variant, self.kind != "attached")

    def _call(self, function: Callable[..., Tensor], changes: dict[str, Any]) -> Tensor:
        names = (*self.tensors, "unobserved", "reduction", "epsilon", "validate")
        assert set(changes) <= set(names), f"{set(changes) - set(names)}"
        tensors = {**self.tensors, **{k: v for k, v in changes.items() if k in self.tensors}}
        options = {k: v for k, v in changes.items() if k not in self.tensors}
        options.setdefault("unobserved", self.unobserved(tensors))
        bare = self.kind == "plain"
        return function(
            tensors["user_factors"],
            tensors["item_factors"],
            user_bias=None if bare else tensors["user_bias"],
            item_bias=None if bare else tensors["item_bias"],
            rated=tuple(tensors[name] for name in ("rows", "columns", "targets", "weights")[: 3 if bare else 4]),
            **options,
        )

    def fused(self, **changes: Any) -> Tensor:
        return self._call(debias_ext.block_loss, changes)

    def reference(self, **changes: Any) -> Tensor:
        return self._call(reference.block_loss, changes)

    def map(self, change: Callable[[Tensor], Tensor]) -> Block:
        return replace(self, tensors={name: change(tensor) for name, tensor in self.tensors.items()})

    def double(self) -> Block:
        return self.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)

    def of_differentiable(self, function: str = "fused", **options: Any) -> tuple[Callable[..., Tensor], tuple[Tensor]]:
        """The call as a function of its differentiable arguments alone, and these."""
        names = DIFFERENTIABLE[self.kind]
        leaves = tuple(self.tensors[name].detach().clone().requires_grad_() for name in names)
        return lambda *values: getattr(self, function)(**dict(zip(names, values, strict=True)), **options), leaves

    def results(self, function: str = "fused", **options: Any) -> list[Tensor]:
        """The value, and the gradients times 1.5."""
        call, leaves = self.of_differentiable(function, **options)
        value = call(*leaves)
        return [value.detach(), *torch.autograd.grad(value, leaves, torch.full_like(value, 1.5))]

    def expected(self, **options: Any) -> list[Tensor]:
        """In float64, with the epsilon of the dtype that the kernels compute in."""
        dtype = self.tensors["user_factors"].dtype
        return self.double().results("reference", epsilon=interd_epsilon(dtype), **options)


def sample(
    kind: str,
    m: int = 5,
    n: int = 7,
    pairs: int = 9,
    factors: tuple[int, int, int] = (3, 2, 4),
    *,
    dtype: torch.dtype = torch.float64,
    index: torch.dtype = torch.int64,
    device: str = "cpu",
    seed: int = 0,
) -> Block:
    """Random tables and pairs in no order, some of them twice; factors of the student and of the two other models."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return (0.6 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)

    def positive(*shape: int) -> Tensor:
        return (0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)).to(dtype)

    tensors: dict[str, Tensor] = {}
    for prefix, d in zip(("", "first_", "second_"), factors, strict=True):
        for name, tensor in zip(TABLES, (normal(m, d), normal(n, d), normal(m), normal(n)), strict=True):
            tensors[prefix + name] = tensor
    tensors["rows"] = torch.randint(max(m, 1), (pairs,), generator=generator, dtype=index)
    tensors["columns"] = torch.randint(max(n, 1), (pairs,), generator=generator, dtype=index)
    if pairs > 3:
        tensors["rows"][-1], tensors["columns"][-1] = tensors["rows"][0], tensors["columns"][0]
    tensors["targets"], tensors["rated_values"] = normal(pairs), normal(pairs)
    tensors["weights"], tensors["rated_weights"] = positive(pairs), positive(pairs)
    tensors["value"], tensors["user_weight"], tensors["item_weight"] = normal(), positive(m), positive(n)
    return Block(kind, {name: tensor.to(device) for name, tensor in tensors.items()})


def assert_near(actual: list[Tensor], expected: list[Tensor], ulps: float) -> None:
    """Within so many roundings of the actual dtype, relative to the largest value of each tensor."""
    for got, wanted in zip(actual, expected, strict=True):
        assert got.shape == wanted.shape
        scale = float(wanted.abs().max()) if wanted.numel() else 0.0
        unit = ulps * torch.finfo(got.dtype).eps
        torch.testing.assert_close(got.double(), wanted.double(), rtol=unit, atol=unit * max(scale, 0.1))
