"""Several factorisations of the same pairs in one pair of tables, so that one operator steps them all."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.models.base import Model
from debiasrec.models.inner_product import InnerProduct

# Exposures stay this far from 1.
MARGIN = 1e-6


class StackedFactors(InnerProduct):
    """p(u, i) = mean over the copies c of sigmoid(P_c[u].Q_c[i]). Row c U + u of the table is row u of copy c.

    Args:
        copies: how many factorisations.
        n_users, n_items, factors, seed, device: of each, as in `MatrixFactorization`.
    """

    kind: ClassVar[str] = "stacked_factors"
    best = Model.best

    def __init__(
        self,
        copies: int,
        n_users: int,
        n_items: int,
        factors: int,
        *,
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(copies * n_users, copies * n_items, factors, seed=seed, device=device)
        self.copies, self.n_users, self.n_items = copies, n_users, n_items

    def settings(self) -> dict[str, Any]:
        """The shape."""
        factors = self.user_factors.shape[1]
        return {"copies": self.copies, "n_users": self.n_users, "n_items": self.n_items, "factors": factors}

    def rows(self, users: Tensor, items: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the tables for the pairs in every copy, [C' B] each, copy by copy.

        Args:
            users, items: int64 [B].
            copies: int64 [C'].
        """
        return (copies[:, None] * self.n_users + users).flatten(), (copies[:, None] * self.n_items + items).flatten()

    def each(self, users: Tensor, items: Tensor) -> Tensor:
        """p of every copy, [C, B], differentiable in the tables."""
        pair = self.rows(users, items, torch.arange(self.copies, device=users.device))
        scores = debias_ext.mf_score(self.user_factors, self.item_factors, *pair)
        return torch.sigmoid(scores).reshape(self.copies, -1)

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """p of pairs, [B], differentiable in the tables; see `Model.score`."""
        return self.each(users, items).mean(0)


class StackedExposure:
    """x_c(i) = (w sigmoid(t.q + t0) + (1 - w) m)^sigmoid(e.q + e0) with w = sigmoid(g.q + g0), for every copy c.

    q are the item factors of the copy, m in (0, 1] the popularity of the item. All starts at 0.

    Args:
        copies, factors: the shape of t, e and g.
        popularity: m, [I].
        device: where the tables live.

    Source: Zhu et al., Unbiased Implicit Recommendation and Propensity Estimation via Combinational Joint Learning,
        RecSys 2020, section 3.2.
    """

    PARTS = ("gate", "taste", "power")

    def __init__(
        self, copies: int, factors: int, popularity: np.ndarray, *, device: str | torch.device = "cpu"
    ) -> None:
        self.popularity = torch.tensor(popularity, dtype=torch.float32, device=device)
        for part in self.PARTS:
            setattr(self, part, torch.zeros((copies, factors), device=device, requires_grad=True))
            setattr(self, f"{part}_bias", torch.zeros(copies, device=device, requires_grad=True))

    def tables(self) -> dict[str, Tensor]:
        """g, t, e and their biases by name, live (not copies)."""
        return {name: getattr(self, name) for part in self.PARTS for name in (part, f"{part}_bias")}

    def to_(self, device: str | torch.device) -> None:
        """Move what training does not change, in place; a learner moves the tables."""
        self.popularity = self.popularity.to(device)

    def logits(
        self, factors: Tensor, rows: Tensor, items: Tensor, copies: Tensor, plus: StackedExposure | None = None
    ) -> Tensor:
        """The logit of x, [N], differentiable in the tables and in those of `plus`, which are added to them.

        Args:
            factors: item factors of all copies, [C I, d].
            rows: int64 [N], rows of the factors.
            items, copies: int64 [N], inside indices of the items, and the copies.
        """
        own, more = self.tables(), None if plus is None else plus.tables()

        def gate(part: str) -> Tensor:
            vectors, bias = (own[name] if more is None else own[name] + more[name] for name in (part, f"{part}_bias"))
            return torch.sigmoid(debias_ext.mf_score(vectors, factors, copies, rows, bias))

        popularity = self.popularity.index_select(0, items)
        base = popularity + gate("gate") * (gate("taste") - popularity)
        log_x = (gate("power") * torch.log(base)).clamp(max=-MARGIN)
        return log_x - torch.log(-torch.expm1(log_x))
