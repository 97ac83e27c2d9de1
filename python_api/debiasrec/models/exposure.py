"""The probability that a user has seen an item, between taste and popularity."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.models.initial import he_normal


class MixedExposure:
    """x(u, i) = rho[i] sigmoid(e[u].q[i]) + (1 - rho[i]) m[i] with rho[i] = sigmoid(c.q[i] + c0).

    q are the item factors of another model, m in [0, 1] the popularity of the items. It starts at rho = 1 / 2.

    Args:
        n_users, factors: the shape of e.
        popularity: m, [I].
        seed: seeds the initial values of e, Normal(0, sqrt(2 / n_users)).
        device: where the tables live.

    Source: the exposure model of Biif, "Low-variance estimator for missing-not-at-random implicit feedback".
    """

    def __init__(
        self,
        n_users: int,
        factors: int,
        popularity: np.ndarray,
        *,
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.user_exposure = he_normal(np.random.default_rng(seed), n_users, factors, device=device)
        self.gate = torch.zeros((1, factors), device=device, requires_grad=True)
        self.gate_bias = torch.zeros(1, device=device, requires_grad=True)
        self.popularity = torch.tensor(popularity, dtype=torch.float32, device=device)

    def tables(self) -> dict[str, Tensor]:
        """e, c and c0 by name, live (not copies)."""
        return {name: getattr(self, name) for name in ("user_exposure", "gate", "gate_bias")}

    def to_(self, device: str | torch.device) -> None:
        """Move what training does not change, in place; a learner moves the tables."""
        self.popularity = self.popularity.to(device)

    def __call__(self, item_factors: Tensor, users: Tensor, items: Tensor) -> Tensor:
        """Exposures of pairs, [B], differentiable in the tables and the item factors.

        Where the item factors are constants the gradient of e is sparse.
        """
        taste, rho, popularity = self._parts(item_factors, users, items)
        return popularity + rho * (taste - popularity)

    def along(self, item_factors: Tensor, direction: Tensor, users: Tensor, items: Tensor) -> Tensor:
        """The derivative of the exposures along a change of the item factors, [B], differentiable in the tables.

        rho (1 - rho) (c.v) (sigmoid(e.q) - m) + rho sigmoid'(e.q) (e.v),  v the row of the item in `direction`
        """
        taste, rho, popularity = self._parts(item_factors, users, items)
        of_taste = debias_ext.mf_score(self.user_exposure, direction, users, items)
        of_gate = debias_ext.mf_score(self.gate, direction, torch.zeros_like(items), items)
        return rho * (1 - rho) * of_gate * (taste - popularity) + rho * taste * (1 - taste) * of_taste

    def _parts(self, item_factors: Tensor, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # One row of a table, so that the sums over the batch are those of a score: in a fixed order.
        gate = debias_ext.mf_score(self.gate, item_factors, torch.zeros_like(items), items, self.gate_bias)
        # Of the large table a batch touches few rows.
        sparse = not item_factors.requires_grad
        taste = debias_ext.mf_score(self.user_exposure, item_factors, users, items, sparse_grad=sparse)
        return torch.sigmoid(taste), torch.sigmoid(gate), self.popularity.index_select(0, items)
