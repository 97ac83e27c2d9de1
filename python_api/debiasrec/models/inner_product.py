"""Matrix factorisation without biases."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from debiasrec.models.matrix_factorization import BIASES, FACTORS, MatrixFactorization


class InnerProduct(MatrixFactorization):
    """s(u, i) = P[u].Q[i]: the biases are 0 and do not train.

    Args:
        n_users, n_items, factors, seed, device: as in `MatrixFactorization`.
    """

    kind: ClassVar[str] = "inner_product"

    def __init__(
        self,
        n_users: int,
        n_items: int,
        factors: int,
        *,
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(n_users, n_items, factors, seed=seed, device=device)
        self.user_bias, self.item_bias = (torch.zeros(rows, device=device) for rows in (n_users, n_items))

    def tables(self) -> dict[str, Tensor]:
        """The two factor tables by name, live (not copies)."""
        return {name: getattr(self, name) for name in FACTORS}

    def constants(self) -> dict[str, Tensor]:
        """The biases."""
        return {name: getattr(self, name) for name in BIASES}

    def settings(self) -> dict[str, Any]:
        """The shape."""
        return {name: value for name, value in super().settings().items() if name != "offset"}
