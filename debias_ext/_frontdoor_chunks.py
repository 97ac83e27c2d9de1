"""The front-door aggregate for a head of any kind: by chunks, each computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from debias_ext._inputs import check_float, check_same_dtype, dtype_name
from debias_ext.reference.frontdoor_aggregate import Head, probabilities

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

    def part(some_context: Tensor, some_mediators: Tensor, those: Tensor, index: Tensor | None) -> Tensor:
        values = probabilities(some_context, some_mediators, head, activation)
        return (values if index is None else torch.where((index != those.unsqueeze(1)).unsqueeze(1), values, 0)).sum(2)

    every = torch.arange(n_samples, device=context.device)
    index = (every if context_index is None else context_index.long()) if exclude_self else None
    contexts = context.split(rows)
    indices = [None] * len(contexts) if index is None else index.split(rows)
    sums = []
    for some_mediators, those in zip(mediators.split(samples), every.split(samples), strict=True):
        total = some_mediators.new_zeros(some_mediators.shape[:2])
        for some_context, some_index in zip(contexts, indices, strict=True):
            total = total + checkpoint(part, some_context, some_mediators, those, some_index, use_reentrant=False)
        sums.append(total)
    return torch.cat(sums) / (len(context) if index is None else (len(context) - _own_rows(index, every)).unsqueeze(1))


def _own_rows(index: Tensor, samples: Tensor) -> Tensor:
    """How many context rows each sample has."""
    ordered = index.sort().values
    return torch.searchsorted(ordered, samples, right=True) - torch.searchsorted(ordered, samples)


def _check(context: Tensor, mediators: Tensor, attention: Tensor, name: str) -> None:
    if context.dim() != 2:
        raise ValueError(f"context must have 2 dimension(s), got shape {list(context.shape)}")
    check_float("context", context)
    check_same_dtype("mediators", mediators, "context", context)
    check_same_dtype(name, attention, "context", context)
    if mediators.dim() != 3 or mediators.size(2) != context.size(1):
        raise ValueError(f"mediators must have shape [N, K, {context.shape[1]}], got {list(mediators.shape)}")
    if attention.shape != mediators.shape[:2]:
        raise ValueError(f"{name} must have shape {list(mediators.shape[:2])}, got {list(attention.shape)}")


def _check_index(n_context: int, n_samples: int, exclude_self: bool, index: Tensor | None, validate: bool) -> None:
    if index is None:
        if exclude_self and n_context != n_samples:
            raise ValueError(
                f"context must have one row for each of the {n_samples} samples when exclude_self is True and there "
                f"is no context_index, got {n_context} rows"
            )
        return
    if not exclude_self:
        raise ValueError("context_index is of use with exclude_self=True only, got exclude_self=False")
    if index.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"context_index must be int32 or int64, got {dtype_name(index)}")
    if list(index.shape) != [n_context]:
        raise ValueError(f"context_index must have shape [{n_context}], got {list(index.shape)}")
    outside = ((index < 0) | (index >= n_samples)).nonzero().flatten().tolist() if validate else []
    if outside:
        at = outside[0]
        raise IndexError(f"context_index must be in [0, {n_samples}), got {int(index[at])} at position {at}")


def chunked_aggregate(
    tensors: Sequence[Tensor],
    head: Callable[[Tensor], Tensor],
    activation: str,
    options: tuple[bool, bool, Tensor | None],
    validate: bool,
) -> Tensor:
    """What the fused operator checks and computes, for a head that is called.

    Args:
        tensors: context, mediators, and the attention or its logits.
        head: from [..., h] to [...] or [..., 1].
        activation: what comes before the head, "relu" or "identity".
        options: whether the attention holds logits, exclude_self, context_index.
        validate: check the values of context_index.
    """
    context, mediators, attention = tensors
    logits, exclude_self, index = options
    _check(context, mediators, attention, "attention_logits" if logits else "attention")
    _check_index(len(context), len(mediators), exclude_self, index, validate)
    means = chunked_means(context, mediators, head, activation, exclude_self, index)
    return ((torch.softmax(attention, 1) if logits else attention) * means).sum(1)
