"""`mf_topk` in plain torch: the matrix of all scores, then a stable sort."""

from __future__ import annotations

import torch
from torch import Tensor


def mf_topk(
    user_factors: Tensor,
    item_factors: Tensor,
    users: Tensor,
    k: int,
    *,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    seen: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    users = users.long()
    scores = user_factors[users] @ item_factors.T
    if user_bias is not None:
        scores = scores + user_bias[users].unsqueeze(1)
    if item_bias is not None:
        scores = scores + item_bias
    scores = scores.masked_fill(scores.isnan(), -torch.inf)
    if seen is not None:
        offsets, items = seen
        for row, user in enumerate(users.tolist()):
            scores[row, items[offsets[user] : offsets[user + 1]].long()] = -torch.inf
    missing = max(0, k - scores.shape[1])
    scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    values, best = torch.sort(scores, dim=1, descending=True, stable=True)
    values, best = values[:, :k], best[:, :k]
    return values, best.masked_fill(values == -torch.inf, -1)
