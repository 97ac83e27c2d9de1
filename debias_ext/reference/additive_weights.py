"""`additive_weights` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def additive_weights(
    user_table: Tensor,
    item_table: Tensor,
    label_table: Tensor | None,
    users: Tensor,
    items: Tensor,
    labels: Tensor | None,
    *,
    temperature: float = 5.0,
) -> Tensor:
    total = user_table[users] + item_table[items]
    if label_table is not None and labels is not None:
        total = total + label_table[labels]
    return torch.exp(total / temperature)
