"""Pairs drawn from all users and items."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from debiasrec.errors import DebiasRecError


def sampled_pairs(
    n_users: int, n_items: int, count: int, generator: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`count` pairs drawn uniformly, with replacement, from all n_users x n_items pairs: (users, items), int64."""
    users = torch.from_numpy(generator.integers(n_users, size=count))
    items = torch.from_numpy(generator.integers(n_items, size=count))
    return users.to(device), items.to(device)


class UnratedPairs:
    """Draws pairs uniformly, with replacement, from those that are not rated.

    Args:
        users, items: int64 [n], the rated pairs; at least one pair must be left.
        n_users, n_items: the shape of the matrix.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> None:
        self._rated = np.unique(users * n_items + items)
        self._n_items, self._n_cells = n_items, n_users * n_items
        if len(self._rated) == self._n_cells:
            raise DebiasRecError(f"users, items: all {self._n_cells:,} pairs are rated, none is left to draw")

    def __len__(self) -> int:
        return self._n_cells - len(self._rated)

    def draw(self, count: int, generator: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """`count` pairs: (users, items), int64."""
        cells = generator.integers(self._n_cells, size=count)
        while True:
            places = np.minimum(np.searchsorted(self._rated, cells), len(self._rated) - 1)
            rated = self._rated[places] == cells
            if not rated.any():
                users, items = np.divmod(cells, self._n_items)
                return torch.from_numpy(users).to(device), torch.from_numpy(items).to(device)
            cells[rated] = generator.integers(self._n_cells, size=int(rated.sum()))
