"""Sample weights that are additive in their logarithms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.models.initial import he_normal

TEMPERATURE = 5.0


class AdditiveWeights:
    """w(u, i, l) = exp((a[u] + b[i] + c[l]) / 5) of a user, an item and a label; about 1 before training.

    Args:
        n_users, n_items, n_labels: numbers of rows of the three tables.
        seed: seeds the initial values, Normal(0, sqrt(2 / rows)), a thousandth of that for the labels.
        device: where the tables live.

    Source: Chen et al., AutoDebias, SIGIR 2021, section 4; temperature and initial values as in its public program.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_labels: int,
        *,
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        generator = np.random.default_rng(seed)
        self.user_table = he_normal(generator, n_users, device=device)
        self.item_table = he_normal(generator, n_items, device=device)
        self.label_table = he_normal(generator, n_labels, device=device, scale=1e-3)

    def tables(self) -> dict[str, Tensor]:
        """The three tables by name, live (not copies)."""
        return {name: getattr(self, name) for name in ("user_table", "item_table", "label_table")}

    def of(self, users: Tensor, items: Tensor, labels: Tensor) -> Tensor:
        """The weights of pairs, [B], differentiable in the tables."""
        tables = self.user_table, self.item_table, self.label_table
        return debias_ext.additive_weights(*tables, users, items, labels, temperature=TEMPERATURE)

    def factors(self, users: Tensor, items: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """A [m] and B [n] with w(u, i, label) = A_u B_i for all pairs of a block, differentiable in the tables."""
        of_users = self.user_table.index_select(0, users) + self.label_table[label]
        return (of_users / TEMPERATURE).exp(), (self.item_table.index_select(0, items) / TEMPERATURE).exp()
