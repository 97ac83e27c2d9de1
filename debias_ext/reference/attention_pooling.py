"""`attention_pooling` in plain torch: every position of every history, with the concatenated input of 4 d numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Pairs = Sequence[tuple[Tensor, Tensor]]


def batch_statistics(hidden: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the valid positions, [h] each; 0 and 1 where there is none."""
    count = valid.sum()
    total = count.clamp(min=1)
    mean = torch.where(valid, hidden, 0).sum((0, 1)) / total
    variance = torch.where(valid, hidden - mean, 0).square().sum((0, 1)) / total
    return mean, torch.where(count > 0, variance, 1)


def dice(hidden: Tensor, alpha: Tensor, mean: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    """x (p + alpha (1 - p)), p = sigmoid((x - mean) / sqrt(variance + epsilon))."""
    gate = torch.sigmoid((hidden - mean) * torch.rsqrt(variance + epsilon))
    return hidden * (gate + alpha * (1 - gate))


def attention_pooling(
    queries: Tensor,
    keys: Tensor,
    lengths: Tensor,
    layers: Pairs,
    *,
    activation: str = "dice",
    alphas: Sequence[Tensor] = (),
    statistics: Pairs | None = None,
    return_statistics: bool = False,
    epsilon: float = 1e-8,
) -> Tensor | tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    valid = (torch.arange(keys.shape[1], device=keys.device) < lengths.unsqueeze(1)).unsqueeze(2)
    known = torch.where(valid, keys, 0)
    query = queries.unsqueeze(1).expand_as(known)
    hidden = torch.cat([query, known, query - known, query * known], 2)
    used = []
    for k, (weight, bias) in enumerate(layers[:-1]):
        hidden = F.linear(hidden, weight, bias)
        if activation == "dice":
            used.append(batch_statistics(hidden, valid) if statistics is None else statistics[k])
            hidden = dice(hidden, alphas[k], *used[-1], epsilon)
        else:
            hidden = torch.relu(hidden) if activation == "relu" else torch.sigmoid(hidden)
    scores = F.linear(hidden, *layers[-1])
    pooled = (torch.where(valid, scores, 0) * known).sum(1)
    return (pooled, [(mean.detach(), variance.detach()) for mean, variance in used]) if return_statistics else pooled
