"""Sample inputs: what each operator is called with, and how it is compared with its plain-torch twin in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import debias_ext
from debias_ext import reference
from debias_ext.reference._losses import interd_epsilon

LOSSES = ("mse", "mae", "bce")
REDUCTIONS = ("mean", "sum", "none")
SOURCES = ("propensities", "propensity_logits")
BOUNDS: tuple[dict[str, float], ...] = ({}, {"clip_min": 0.3}, {"floor": 0.1})


@dataclass(frozen=True)
class Spec:
    """An operator, which tensors it gets, which of them have a gradient, and its options."""

    op: str
    tensors: tuple[str, ...]
    differentiable: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        usual = ("scores", "clicks", "targets", "observed", "pseudo_targets", "positive_scores", "negative_scores")
        given = [name for name in self.tensors if name not in usual]
        return "-".join([self.op, *given, *(f"{name}={value}" for name, value in self.options)])


@dataclass(frozen=True)
class Case:
    """One call: `fused()` and `reference()` take the same arguments; keyword arguments replace tensors or options.

    `of_twin` is what the reference gets besides, so that it computes what the kernels do in another dtype.
    """

    spec: Spec
    tensors: dict[str, Tensor]
    of_twin: dict[str, Any] = field(default_factory=dict)

    def _call(self, function: Callable[..., Tensor], changes: dict[str, Any]) -> Tensor:
        return function(**{**self.tensors, **dict(self.spec.options), **changes})

    def fused(self, **changes: Any) -> Tensor:
        return self._call(getattr(debias_ext, self.spec.op), changes)

    def reference(self, **changes: Any) -> Tensor:
        return self._call(getattr(reference, self.spec.op), {**self.of_twin, **changes})

    def map(self, change: Callable[[Tensor], Tensor]) -> Case:
        return replace(self, tensors={name: change(tensor) for name, tensor in self.tensors.items()})

    def double(self) -> Case:
        wide = self.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        if self.spec.op == "interd_loss":
            return replace(wide, of_twin={"epsilon": interd_epsilon(self.tensors["scores"].dtype)})
        return wide

    def leaves(self) -> dict[str, Tensor]:
        """Fresh leaves for the differentiable arguments."""
        return {name: self.tensors[name].detach().clone().requires_grad_() for name in self.spec.differentiable}

    def of_differentiable(self, function: str = "fused") -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
        """The call as a function of its differentiable arguments alone, and these."""
        names = self.spec.differentiable
        call = getattr(self, function)
        return lambda *values: call(**dict(zip(names, values, strict=True))), tuple(self.leaves().values())


def _loss_specs() -> Iterator[Spec]:
    pair = ("scores", "targets")
    for loss in LOSSES:
        for reduction in REDUCTIONS:
            options = (("loss", loss), ("reduction", reduction))
            yield Spec("pointwise_loss", pair, pair, options)
            yield Spec("pointwise_loss", (*pair, "weights"), (*pair, "weights"), options)
            everything = (*pair, "pseudo_targets", "propensities")
            yield Spec("dr_loss", (*everything, "observed"), everything, options)
        for source in SOURCES:
            for bound in BOUNDS:
                some = (("loss", loss), *bound.items())
                for reduction in REDUCTIONS:
                    yield Spec("ips_loss", (*pair, source), (*pair, source), (*some, ("reduction", reduction)))
                yield Spec("snips_loss", (*pair, source), (*pair, source), some)
            yield Spec("snips_loss", (*pair, source), (*pair, source), (("loss", loss), ("normaliser", (90.0, 40))))


def _click_specs() -> Iterator[Spec]:
    for reduction in REDUCTIONS:
        options = (("reduction", reduction),)
        for source in ("exposures", "exposure_logits"):
            rows = ("scores", "clicks", source)
            yield Spec("exposure_loss", rows, rows, options)
        for form in ("square", "log"):
            rows = ("scores", "clicks", "exposures")
            yield Spec("relmf_loss", rows, rows, (("form", form), *options))
            yield Spec("relmf_loss", rows, rows, (("form", form), ("clip_min", 0.3), *options))


def _pair_specs() -> Iterator[Spec]:
    pair, popularity = ("positive_scores", "negative_scores"), ("positive_popularity", "negative_popularity")
    for reduction in REDUCTIONS:
        options = (("reduction", reduction),)
        for rows in (pair, (*pair, "weights")):
            yield Spec("pair_loss", rows, rows, options)
            yield Spec("pair_loss", rows, rows, (("kind", "pda"), *options))
            yield Spec("pair_loss", (*rows, *popularity), rows, (("kind", "pda"), ("gamma", 0.2), *options))


def _interd_specs() -> Iterator[Spec]:
    """Forms whose slope is the derivative of their value: a detached target that follows the score has another one."""
    teachers, scores = ("scores", "biased", "debiased"), ("scores",)
    rated, weight = (*teachers, "ratings"), "debiased_weight"
    for reduction in REDUCTIONS:
        some = (("gamma", -0.7), ("reduction", reduction))
        yield Spec("interd_loss", (*rated, weight), scores, some)
        yield Spec("interd_loss", teachers, scores, (*some, ("detach_target", False)))
    for tensors in (rated, (*teachers, weight)):
        yield Spec("interd_loss", tensors, scores, (("gamma", -1.25), ("variant", "hard")))
    yield Spec("interd_loss", teachers, scores, (("gamma", 0.4), ("variant", "zero")))
    yield Spec("interd_loss", rated, scores, (("gamma", 0.4), ("detach_target", False)))


def _score_specs() -> Iterator[Spec]:
    factors = ("user_factors", "item_factors")
    for extra in ((), ("user_bias",), ("item_bias", "offset"), ("user_bias", "item_bias", "offset")):
        yield Spec("mf_score", (*factors, "users", "items", *extra), (*factors, *extra), ())


LOSS_SPECS = list(_loss_specs())
CLICK_SPECS = list(_click_specs())
PAIR_SPECS = list(_pair_specs())
INTERD_SPECS = list(_interd_specs())
SCORE_SPECS = list(_score_specs())
SPECS = LOSS_SPECS + CLICK_SPECS + PAIR_SPECS + INTERD_SPECS + SCORE_SPECS
# One of each operator, with every tensor that it can take.
SMALL = [Spec("pointwise_loss", ("scores", "targets", "weights"), ("scores", "targets", "weights"), (("loss", "bce"),))]
SMALL += [s for s in LOSS_SPECS if s.op == "ips_loss" and s.options == (("loss", "mse"), ("reduction", "mean"))]
SMALL += [s for s in LOSS_SPECS if s.op == "snips_loss" and s.options == (("loss", "bce"),)]
SMALL += [next(s for s in CLICK_SPECS if s.op == "exposure_loss")]
SMALL += [next(s for s in CLICK_SPECS if s.op == "relmf_loss" and "clip_min" in dict(s.options))]
SMALL += [next(s for s in PAIR_SPECS if len(s.tensors) == 5)]
SMALL += INTERD_SPECS[:1]
SMALL += [s for s in LOSS_SPECS if s.op == "dr_loss" and s.options == (("loss", "bce"), ("reduction", "mean"))]
SMALL += [SCORE_SPECS[-1]]


def _uniform(shape: Sequence[int], low: float, high: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    return (low + (high - low) * torch.rand(tuple(shape), generator=generator, dtype=torch.float64)).to(dtype)


RANGES = {
    "scores": (-3.0, 3.0),
    "targets": (0.0, 1.0),
    "weights": (-1.0, 2.0),
    "pseudo_targets": (0.0, 1.0),
    "debiased_weight": (0.2, 2.0),
    "propensities": (0.05, 1.0),
    "propensity_logits": (-3.0, 3.0),
    "clicks": (0.05, 0.95),
    "exposures": (0.05, 0.95),
    "exposure_logits": (-3.0, 3.0),
    "positive_scores": (-3.0, 3.0),
    "negative_scores": (-3.0, 3.0),
    "positive_popularity": (0.05, 1.0),
    "negative_popularity": (0.05, 1.0),
}


def sample_inputs(
    spec: Spec,
    n: int = 7,
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    index: torch.dtype = torch.int64,
    users: int = 5,
    items: int = 6,
    factors: int = 3,
    seed: int = 0,
) -> Case:
    """Random arguments for `n` rows, inside the range of each and away from kinks."""
    generator = torch.Generator().manual_seed(seed)
    tables = {"user_factors": (users, factors), "item_factors": (items, factors)}
    tables |= {"user_bias": (users,), "item_bias": (items,), "offset": ()}
    tensors = {}
    for name in spec.tensors:
        if name in ("users", "items"):
            rows = users if name == "users" else items
            tensors[name] = torch.randint(rows, (n,), generator=generator, dtype=index)
        elif name == "observed":
            tensors[name] = torch.rand(n, generator=generator) < 0.5
        else:
            low, high = RANGES.get(name, (-1.0, 1.0))
            tensors[name] = _uniform(tables.get(name, (n,)), low, high, generator, dtype)
    return Case(spec, {name: tensor.to(device) for name, tensor in tensors.items()})


def value_and_gradients(function: Callable[..., Tensor], leaves: tuple[Tensor, ...], seed: int = 1) -> list[Tensor]:
    """The value, then the gradient of each leaf, for a cotangent that is the same whatever the dtype."""
    value = function(*leaves)
    generator = torch.Generator().manual_seed(seed)
    cotangent = _uniform(value.shape, 0.5, 1.5, generator, torch.bfloat16).to(value)
    return [value.detach(), *torch.autograd.grad(value, leaves, cotangent)]


def assert_near(actual: Tensor, expected: Tensor, ulps: float, scale: float = 0.0) -> None:
    """Within so many roundings of the actual dtype, relative to each value and to max(largest value, `scale`)."""
    unit = ulps * torch.finfo(actual.dtype).eps
    scale = max(scale, float(expected.abs().max()) if expected.numel() else 0.0)
    smallest = torch.finfo(actual.dtype).smallest_normal * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=unit, atol=unit * scale + smallest, equal_nan=True
    )
