"""Sums over all pairs of a user block and an item block, without enumerating them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Sides = tuple[Tensor, Tensor]


def all_pairs_inner(first: Sides, second: Sides) -> Tensor:
    """sum over all pairs (u, i) of A[u, i] B[u, i], where A = X Y' and B = V W' are products of their sides.

    Written as <X'V, Y'W>: the cost is O((m + n) d^2), not O(m n d), and so is that of the gradient.

    Args:
        first: (X [m, d], Y [n, d]), the user and the item side of A.
        second: (V [m, e], W [n, e]), those of B.

    Returns:
        A scalar, differentiable in the four tables.
    """
    return ((first[0].T @ second[0]) * (first[1].T @ second[1])).sum()


def sampled_pairs(
    n_users: int, n_items: int, count: int, generator: np.random.Generator, device: torch.device
) -> Sides:
    """`count` pairs drawn uniformly, with replacement, from all n_users x n_items pairs: (users, items), int64."""
    users = torch.from_numpy(generator.integers(n_users, size=count))
    items = torch.from_numpy(generator.integers(n_items, size=count))
    return users.to(device), items.to(device)
