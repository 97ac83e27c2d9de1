"""The front-door aggregate for a head of any kind: by chunks, each computed again in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from debias_ext.reference.frontdoor_aggregate import Head, kept, probabilities

CHUNK = 1 << 22  # hidden values at a time


def chunk_sizes(n_context: int, n_teachers: int, hidden: int) -> tuple[int, int]:
    """Samples and context rows of a chunk."""
    per_pair = max(1, n_teachers * hidden)
    rows = max(1, min(n_context, CHUNK // per_pair))
    return max(1, CHUNK // (per_pair * rows)), rows


def chunked_means(
    context: Tensor, mediators: Tensor, head: Head, activation: str, exclude_self: bool, context_index: Tensor | None
) -> Tensor:
    """The mean over the context rows, [N, K], in memory of one chunk of hidden values."""
    n_samples, n_teachers, hidden = mediators.shape
    samples, rows = chunk_sizes(len(context), n_teachers, hidden)

    def part(some_context: Tensor, some_mediators: Tensor, keep: Tensor | None) -> Tensor:
        values = probabilities(some_context, some_mediators, head, activation)
        return (values if keep is None else torch.where(keep.unsqueeze(1), values, 0)).sum(2)

    keep = kept(context, n_samples, context_index) if exclude_self else None
    contexts = context.split(rows)
    sums = []
    for i, some_mediators in enumerate(mediators.split(samples)):
        total = some_mediators.new_zeros(some_mediators.shape[:2])
        for j, some_context in enumerate(contexts):
            mask = None if keep is None else keep[i * samples : (i + 1) * samples, j * rows : (j + 1) * rows]
            total = total + checkpoint(part, some_context, some_mediators, mask, use_reentrant=False)
        sums.append(total)
    count = len(context) if keep is None else keep.sum(1, keepdim=True)
    return torch.cat(sums) / count
