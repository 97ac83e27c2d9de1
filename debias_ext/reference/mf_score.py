"""`mf_score` in plain torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mf_score(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    items: Tensor,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    *,
    offset: float | Tensor = 0.0,
    sparse_grad: bool = False,
) -> Tensor:
    def rows(table: Tensor, index: Tensor) -> Tensor:
        if table.dim() == 2:
            return F.embedding(index, table, sparse=sparse_grad)
        return F.embedding(index, table.unsqueeze(1), sparse=sparse_grad).squeeze(1)

    scores = (rows(user_factors, users) * rows(item_factors, items)).sum(1)
    if user_bias is not None:
        scores = scores + rows(user_bias, users)
    if item_bias is not None:
        scores = scores + rows(item_bias, items)
    return scores + offset
