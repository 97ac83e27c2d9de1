"""Sample inputs of lookahead_loss: every mode, with duplicates, and how a call is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import debias_ext
from debias_ext import reference

LOSSES = ("mse", "mae", "bce")
SOURCES = ("unit", "weights", "propensities", "propensity_logits")


@dataclass
class Case:
    """One call: `leaves` are its differentiable tensors by (side, key); `fused` and `reference` take the same."""

    tables: dict[str, Tensor]
    lower: dict[str, Any]
    upper: dict[str, Any]
    options: dict[str, Any] = field(default_factory=lambda: {"lr": 0.3})

    def names(self) -> list[tuple[str, ...]]:
        """Where the differentiable tensors are."""
        found = []
        for side in ("lower", "upper"):
            for key, value in getattr(self, side).items():
                if isinstance(value, dict):
                    found += [(side, key, inner) for inner, v in value.items() if _differentiable(v)]
                elif _differentiable(value):
                    found.append((side, key))
        return found

    def get(self, name: tuple[str, ...]) -> Tensor:
        side = getattr(self, name[0])
        return side[name[1]] if len(name) == 2 else side[name[1]][name[2]]

    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(self.get(name).detach().clone().requires_grad_() for name in self.names())

    def call(self, function: Callable[..., Tensor], *leaves: Tensor, **changes: Any) -> Tensor:
        """The call with these leaves in place of the case's own."""
        sides = {side: _copied(getattr(self, side)) for side in ("lower", "upper")}
        for name, leaf in zip(self.names(), leaves, strict=False):
            holder = sides[name[0]] if len(name) == 2 else sides[name[0]][name[1]]
            holder[name[-1]] = leaf
        return function(**{**self.tables, **sides, **self.options, **changes})

    def fused(self, *leaves: Tensor, **changes: Any) -> Tensor:
        return self.call(debias_ext.lookahead_loss, *leaves, **changes)

    def reference(self, *leaves: Tensor, **changes: Any) -> Tensor:
        return self.call(reference.lookahead_loss, *leaves, **changes)

    def map(self, change: Callable[[Tensor], Tensor]) -> Case:
        parts = (self.tables, self.lower, self.upper, self.options)
        return Case(*[_mapped(part, change) for part in parts])

    def double(self) -> Case:
        return self.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _copied(part: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in part.items()}


def _mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(part, dict):
        return {key: _mapped(value, change) for key, value in part.items()}
    return change(part) if isinstance(part, Tensor) else part


RANGES = {
    "targets": (0.0, 1.0),
    "weights": (-1.0, 2.0),
    "imputations": (-1.0, 1.0),
    "propensities": (0.05, 1.0),
    "propensity_logits": (-3.0, 3.0),
    "exposures": (0.05, 0.95),
    "exposure_logits": (-3.0, 3.0),
    "exp_avg_sq": (0.1, 1.0),
}


class Maker:
    """Seeded tensors of one dtype."""

    def __init__(self, seed: int, dtype: torch.dtype, index: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype, self.index = dtype, index

    def floats(self, name: str, *shape: int) -> Tensor:
        low, high = RANGES.get(name, (-1.0, 1.0))
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * values).to(self.dtype)

    def rows(self, n: int, users: tuple[int, int], items: tuple[int, int]) -> dict[str, Tensor]:
        """Pairs with users and items from these ranges."""
        pairs = {"users": users, "items": items}
        return {key: torch.randint(*span, (n,), generator=self.generator).to(self.index) for key, span in pairs.items()}

    def observed(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator) < 0.6


def sample(
    lower_loss: str = "mse",
    lower_source: str = "weights",
    upper_loss: str = "mse",
    upper_source: str = "unit",
    *,
    bias: str = "both",
    reductions: tuple[str, str] = ("sum", "mean"),
    bounds: dict[str, float] | None = None,
    l2: float = 0.2,
    adam: bool = False,
    missing: int = 0,
    sizes: tuple[int, int] = (19, 8),
    tables: tuple[int, int, int] = (11, 9, 3),
    dtype: torch.dtype = torch.float64,
    index: torch.dtype = torch.int64,
    seed: int = 0,
) -> Case:
    """A random call. `lower_source` may be "doubly_robust", with `missing` pairs more."""
    make, (n_users, n_items, d) = Maker(seed, dtype, index), tables
    whole = ((0, n_users), (0, n_items))
    given = {"user_factors": make.floats("", n_users, d), "item_factors": make.floats("", n_items, d)}
    if bias in ("both", "user"):
        given["user_bias"] = make.floats("", n_users)
    if bias in ("both", "item"):
        given["item_bias"] = make.floats("", n_items)
    lower = {**make.rows(sizes[0], *whole), "targets": make.floats("targets", sizes[0])}
    upper = {**make.rows(sizes[1], *whole), "targets": make.floats("targets", sizes[1])}
    if lower_source == "doubly_robust":
        lower |= {key: make.floats(key, sizes[0]) for key in ("propensities", "imputations")}
        lower["observed"] = make.observed(sizes[0])
        if missing:
            pairs = make.rows(missing, *whole)
            lower["missing"] = {**pairs, "imputations": make.floats("imputations", missing), "scale": 0.7}
    for side, source in ((lower, lower_source), (upper, upper_source)):
        if source in (*SOURCES[1:], "exposures", "exposure_logits"):
            side[source] = make.floats(source, len(side["targets"]))
        if bounds and source in ("propensities", "propensity_logits", "exposures"):
            side.update(bounds)
    lower |= {"loss": lower_loss, "reduction": reductions[0]}
    upper |= {"loss": upper_loss, "reduction": reductions[1]}
    options: dict[str, Any] = {"lr": 0.3, "l2": l2}
    if adam:
        moments = {key: {n: make.floats(key, *t.shape) for n, t in given.items()} for key in ("exp_avg", "exp_avg_sq")}
        options["assumed"] = {**moments, "step": 4, "betas": (0.8, 0.95), "eps": 1e-3}
    return Case(given, lower, upper, options)


def every_mode() -> Iterator[tuple[str, dict[str, Any]]]:
    """Keyword arguments of `sample` for every mode."""
    for loss in LOSSES:
        for source in SOURCES:
            yield f"{loss}-{source}", {"lower_loss": loss, "lower_source": source}
            yield f"upper-{loss}-{source}", {"upper_loss": loss, "upper_source": source}
    for source in SOURCES[2:]:
        for bounds in ({"clip_min": 0.4}, {"floor": 0.2}):
            kind = {"lower_source": source, "upper_source": source, "bounds": bounds}
            yield f"{source}-{next(iter(bounds))}", kind
    for loss in ("mse", "bce"):
        yield f"dr-{loss}", {"lower_loss": loss, "lower_source": "doubly_robust"}
        yield f"dr-missing-{loss}", {"lower_loss": loss, "lower_source": "doubly_robust", "missing": 7}
        yield f"adam-{loss}", {"lower_loss": loss, "adam": True}
    for source in ("exposures", "exposure_logits"):
        kind = {"lower_loss": "exposure", "lower_source": source}
        yield source, kind
        yield f"upper-{source}", {"upper_loss": "exposure", "upper_source": source}
    relmf = {"lower_loss": "relmf", "lower_source": "exposures", "upper_loss": "relmf", "upper_source": "exposures"}
    yield "relmf", relmf
    yield "relmf-clip_min", {**relmf, "bounds": {"clip_min": 0.4}}
    mean = {"reductions": ("mean", "sum")}
    yield "dr-missing-mean", {"lower_source": "doubly_robust", "missing": 7, **mean}
    yield "no-bias", {"bias": "none", **mean}
    yield "user-bias", {"bias": "user", "lower_loss": "bce"}
    yield "item-bias", {"bias": "item", "adam": True}
    yield "no-l2", {"l2": 0.0}
    yield "adam-no-bias", {"bias": "none", "adam": True}


MODES = dict(every_mode())


def gradients(function: Callable[..., Tensor], case: Case) -> list[Tensor]:
    """The value, then the gradient of each leaf."""
    leaves = case.leaves()
    value = function(*leaves)
    got = torch.autograd.grad(value, leaves, allow_unused=True)
    return [value.detach(), *(torch.zeros_like(x) if g is None else g for g, x in zip(got, leaves, strict=True))]


# Half types are summed in float32 and rounded once.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def assert_equal_to_reference(case: Case, tolerance: float, *, equal_nan: bool = False) -> None:
    """The value and every gradient against those of the reference in float64."""
    expected = gradients(case.double().reference, case.double())
    for name, got, wanted in zip(["loss", *case.names()], gradients(case.fused, case), expected, strict=True):
        atol = tolerance * max(1e-2, float(wanted.abs().max()) if wanted.numel() else 0.0)
        where = lambda message, name=name: f"{name}: {message}"  # noqa: E731
        torch.testing.assert_close(
            got.double().cpu(), wanted.cpu(), rtol=tolerance, atol=atol, equal_nan=equal_nan, msg=where
        )


def of_model(case: Case) -> Case:
    """The same call for lookahead_loss_for: the tables as parameters, users and items as inputs."""
    return Case({"params": case.tables}, _with_inputs(case.lower), _with_inputs(case.upper), {"lr": case.options["lr"]})


def _with_inputs(side: dict[str, Any]) -> dict[str, Any]:
    changed = {key: value for key, value in side.items() if key not in ("users", "items")}
    changed["inputs"] = (side["users"], side["items"])
    if "missing" in side:
        changed["missing"] = _with_inputs(side["missing"])
    return changed


def factors(params: dict[str, Tensor], users: Tensor, items: Tensor) -> Tensor:
    """The scores of lookahead_loss with an item bias."""
    return (params["user_factors"][users] * params["item_factors"][items]).sum(1) + params["item_bias"][items]
