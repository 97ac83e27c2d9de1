"""Pairs drawn from all users and items."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sampled_pairs(
    n_users: int, n_items: int, count: int, generator: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`count` pairs drawn uniformly, with replacement, from all n_users x n_items pairs: (users, items), int64."""
    users = torch.from_numpy(generator.integers(n_users, size=count))
    items = torch.from_numpy(generator.integers(n_items, size=count))
    return users.to(device), items.to(device)
