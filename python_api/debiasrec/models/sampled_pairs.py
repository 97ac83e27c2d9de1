"""Pairs drawn from all users and items."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import debias_ext


def sampled_pairs(
    n_users: int, n_items: int, count: int, generator: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`count` pairs drawn uniformly, with replacement, from all n_users x n_items pairs: (users, items), int64."""
    users = torch.from_numpy(generator.integers(n_users, size=count))
    items = torch.from_numpy(generator.integers(n_items, size=count))
    return users.to(device), items.to(device)


class UnratedPairs:
    """Draws pairs uniformly, with replacement, from those that are not rated; an epoch draws the same ones again.

    Args:
        users, items: int64 [n], the rated pairs. An epoch draws at most n pairs.
        n_users, n_items: the shape of the matrix.
        seed: of the draws.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int, seed: int) -> None:
        pairs = torch.tensor(users), torch.tensor(items)
        self._sampler = debias_ext.PairSampler(*pairs, n_users=n_users, n_items=n_items, seed=seed)
        self._seed, self._per_epoch = int(seed), len(users)
        self._count = n_users * n_items - len(np.unique(users * n_items + items))

    def __len__(self) -> int:
        return self._count

    def begin_epoch(self, epoch: int) -> None:
        """Go to where that epoch (from 1) draws."""
        self._sampler.load_state_dict({"seed": self._seed, "position": (epoch - 1) * self._per_epoch})

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """`count` pairs: (users, items), int64.

        Raises:
            ValueError: every pair is rated.
        """
        users, items = self._sampler.unobserved(count)
        return users.to(device), items.to(device)

    def of_users(self, users: Tensor) -> Tensor:
        """An unrated item for every one of these users, int64 on the CPU; each user has one."""
        return self._sampler.negatives(users, 1)[1]
