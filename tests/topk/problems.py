"""Inputs of mf_topk whose scores are exact in every dtype, and comparison with the plain-torch twin in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from debias_ext import mf_topk, reference


class Problem(NamedTuple):
    tables: dict[str, Tensor]  # user_factors, item_factors, user_bias, item_bias
    users: Tensor
    seen: tuple[Tensor, Tensor] | None

    def to(self, dtype: torch.dtype, place: str = "cpu") -> Problem:
        tables = {name: table.to(place, dtype) for name, table in self.tables.items()}
        seen = None if self.seen is None else (self.seen[0].to(place), self.seen[1].to(place))
        return Problem(tables, self.users.to(place), seen)

    def arguments(self, k: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        options = {name: self.tables.get(name) for name in ("user_bias", "item_bias")}
        tables = self.tables["user_factors"], self.tables["item_factors"]
        return (*tables, self.users, k), {**options, "seen": self.seen}


def whole_numbers(
    n_users: int = 40,
    n_items: int = 150,
    factors: int = 5,
    n: int = 33,
    *,
    seen_per_user: int | None = 20,
    biases: bool = True,
    seed: int = 0,
) -> Problem:
    """Factors in -2..2 and biases in -3..3: few distinct scores, so many ties. Seen items unsorted, with repeats."""
    generator = torch.Generator().manual_seed(seed)

    def table(largest: int, *shape: int) -> Tensor:
        return torch.randint(-largest, largest + 1, shape, generator=generator).double()

    tables = {"user_factors": table(2, n_users, factors), "item_factors": table(2, n_items, factors)}
    if biases:
        tables |= {"user_bias": table(3, n_users), "item_bias": table(3, n_items)}
    users = torch.randint(max(n_users, 1), (n,), generator=generator)
    if seen_per_user is None:
        return Problem(tables, users, None)
    counts = torch.randint(seen_per_user + 1, (n_users,), generator=generator) * (n_items > 0)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    items = torch.randint(max(n_items, 1), (int(offsets[-1]),), generator=generator)
    return Problem(tables, users, (offsets, items))


def topk(problem: Problem, k: int, **options: Any) -> tuple[Tensor, Tensor]:
    positional, named = problem.arguments(k)
    return mf_topk(*positional, **named, **options)


def expected(problem: Problem, k: int) -> tuple[Tensor, Tensor]:
    positional, named = problem.to(torch.float64).arguments(k)
    return reference.mf_topk(*positional, **named)


def assert_exact(problem: Problem, k: int) -> None:
    """The very scores and items of the float64 reference."""
    scores, items = topk(problem, k)
    wanted_scores, wanted_items = expected(problem, k)
    assert scores.dtype == problem.tables["user_factors"].dtype
    assert items.dtype == torch.int64
    assert scores.shape == items.shape == (len(problem.users), k)
    assert torch.equal(scores.cpu().double(), wanted_scores)
    assert torch.equal(items.cpu(), wanted_items)
