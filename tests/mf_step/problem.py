"""A small factor model with samples that meet rows several times, for the fused steps and for the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import debias_ext
from debias_ext import MFOptimizer, reference

KINDS = ("sgd", "adagrad", "rowwise_adagrad", "lazy_adam", "adam")
TABLES = ("user_factors", "item_factors", "user_bias", "item_bias")


@dataclass
class Problem:
    """Tables and samples; `tensors` go to the steps by name."""

    tensors: dict[str, Tensor]
    optimizer: MFOptimizer
    options: dict[str, Any] = field(default_factory=dict)

    def tables(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.tensors.items() if name in TABLES}

    def step(self, **changes: Any) -> Tensor:
        return debias_ext.mf_step_(**{**self.tensors, **self.options, "optimizer": self.optimizer, **changes})

    def epoch(self, **changes: Any) -> Tensor:
        return debias_ext.mf_epoch_(**{**self.tensors, **self.options, "optimizer": self.optimizer, **changes})

    def reference(self, dtype: torch.dtype = torch.float64) -> Problem:
        """The same problem, apart, in another dtype and on the CPU."""
        moved = {
            name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else torch.int64).clone()
            for name, tensor in self.tensors.items()
        }
        twin = Problem(moved, copy_of(self.optimizer), dict(self.options))
        for name, tensor in self.optimizer.state.items():
            twin.optimizer.state[name] = tensor.cpu().to(dtype).clone()
        return twin

    def reference_step(self) -> Tensor:
        return reference.mf_step_(**self.tensors, **self.options, optimizer=self.optimizer)


def copy_of(optimizer: MFOptimizer) -> MFOptimizer:
    """The same settings and the same number of steps, without state."""
    twin = MFOptimizer(optimizer.kind, optimizer.lr, optimizer.betas, optimizer.eps, optimizer.initial_accumulator)
    twin.steps = optimizer.steps
    return twin


def make_problem(
    kind: str = "adagrad",
    *,
    n: int = 60,
    factors: int = 10,
    shape: tuple[int, int] = (40, 17),
    dtype: torch.dtype = torch.float64,
    index: torch.dtype = torch.int64,
    device: str = "cpu",
    seed: int = 0,
    bias: bool = True,
    weights: bool = True,
    pseudo_targets: bool = False,
    lr: float = 0.05,
    **options: Any,
) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(device, dtype)

    n_users, n_items = shape
    tensors = {
        "user_factors": normal(n_users, factors),
        "item_factors": normal(n_items, factors),
        "users": torch.randint(max(n_users, 1), (n,), generator=generator).to(device, index),
        "items": torch.randint(max(n_items, 1), (n,), generator=generator).to(device, index),
        "targets": normal(n),
    }
    if options.get("loss") == "bce":
        tensors["targets"] = tensors["targets"].double().sigmoid().to(dtype)
    if options.get("loss") in ("exposure", "relmf"):
        tensors["targets"] = (tensors["targets"] > 0).to(dtype)
        tensors["exposures"] = 0.1 + 0.8 * normal(n).double().sigmoid().to(dtype)
    if bias:
        tensors |= {"user_bias": normal(n_users), "item_bias": normal(n_items)}
    if weights:
        tensors["weights"] = normal(n).abs()
    if pseudo_targets:
        tensors["pseudo_targets"] = normal(n)
    accumulator = 0.1 if "adagrad" in kind else 0.0
    return Problem(tensors, MFOptimizer(kind, lr, initial_accumulator=accumulator), options)


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Every entry of the two equals, within tolerance times the largest value of the entry (or 1)."""
    assert got.keys() == expected.keys()
    for name, tensor in got.items():
        difference = (tensor.detach().cpu().double() - expected[name].detach().cpu().double()).abs()
        scale = max(1.0, float(expected[name].detach().abs().max())) if difference.numel() else 1.0
        assert difference.numel() == 0 or float(difference.max()) <= tolerance * scale, (name, float(difference.max()))


def tolerance_of(dtype: torch.dtype) -> float:
    return {torch.float64: 1e-11, torch.float32: 3e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
