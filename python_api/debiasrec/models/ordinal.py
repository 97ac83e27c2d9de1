"""Ordered probit over matrix factorisation."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.special import log_ndtr

from debiasrec.models.base import Model
from debiasrec.models.matrix_factorization import MatrixFactorization


class OrdinalFactorization(MatrixFactorization):
    """P(r = l) = Phi(b_l - s) - Phi(b_(l-1) - s) with s from matrix factorisation; scores are expected values.

    The cuts b_1 < ... < b_(L-1) are the first one and positive steps: `cuts` = (b_1, softplus^-1(b_2 - b_1), ...).

    Args:
        n_users, n_items, factors, seed, device: as in `MatrixFactorization`.
        values: [L], the value of each level in the coding of the targets, at least two.
        shares: [L], positive: where the cuts start, so that P(r = l) is shares[l] at s = 0.

    Source: Chu and Ghahramani, Gaussian Processes for Ordinal Regression, JMLR 2005, eq (4).
    """

    kind: ClassVar[str] = "ordinal"

    def __init__(
        self,
        n_users: int,
        n_items: int,
        factors: int,
        *,
        values: list[float],
        shares: list[float],
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(n_users, n_items, factors, seed=seed, device=device)
        self.values = torch.tensor(values, dtype=torch.float32, device=device)
        weights = np.asarray(shares, dtype=np.float64)
        cuts = torch.special.ndtri(torch.from_numpy(weights / weights.sum()).cumsum(0)[:-1])
        steps = torch.log(torch.expm1(cuts.diff()))
        self.cuts = torch.cat([cuts[:1], steps]).float().to(device).requires_grad_()

    def tables(self) -> dict[str, Tensor]:
        """The tables of the factor model and the cuts, live (not copies)."""
        return {**super().tables(), "cuts": self.cuts}

    def constants(self) -> dict[str, Tensor]:
        """The values of the levels."""
        return {"values": self.values}

    def settings(self) -> dict[str, Any]:
        """The shape."""
        levels = [float(value) for value in self.values]
        shape = {name: value for name, value in super().settings().items() if name != "offset"}
        return {**shape, "values": levels, "shares": [1.0] * len(levels)}

    def log_probabilities(self, users: Tensor, items: Tensor) -> Tensor:
        """log P(r = l) of pairs, [B, L], differentiable in the tables."""
        cuts = torch.cat([self.cuts[:1], softplus(self.cuts[1:])]).cumsum(0)
        above = cuts - super().score(users, items)[:, None]
        # Phi(x) - Phi(y) = Phi(-y) - Phi(-x): the side on which the smaller numbers are keeps the digits.
        high, low = above[:, 1:], above[:, :-1]
        flip = low > 0
        larger, smaller = log_ndtr(torch.where(flip, -low, high)), log_ndtr(torch.where(flip, -high, low))
        between = larger + torch.log(-torch.expm1(smaller - larger))
        return torch.cat([log_ndtr(above[:, :1]), between, log_ndtr(-above[:, -1:])], 1)

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Expected values of pairs, [B]; see `Model.score`."""
        return self.log_probabilities(users, items).exp() @ self.values

    loss = Model.loss
    best = Model.best
