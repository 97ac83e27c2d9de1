"""`frontdoor_aggregate` in plain torch: the whole N x K x M x h tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Head = tuple[Tensor, Tensor] | Callable[[Tensor], Tensor]


def probabilities(context: Tensor, mediators: Tensor, head: Head, activation: str = "relu") -> Tensor:
    """sigmoid(head(act(a_j + c_ki))), [N, K, M]."""
    hidden = mediators.unsqueeze(2) + context
    if activation == "relu":
        hidden = torch.relu(hidden)
    if not isinstance(head, tuple):
        logits = head(hidden)
        if logits.shape not in (hidden.shape[:-1], (*hidden.shape[:-1], 1)):
            raise ValueError(
                f"head must map {list(hidden.shape)} to {list(hidden.shape[:-1])}, with or without a last axis of 1, "
                f"got {list(logits.shape)}"
            )
        return torch.sigmoid(logits.reshape(hidden.shape[:-1]))
    weight, bias = head
    return torch.sigmoid(hidden @ weight + bias)


def kept(context: Tensor, n_samples: int, context_index: Tensor | None) -> Tensor:
    """Whether context row j is another sample than i, [N, M]."""
    samples = torch.arange(n_samples, device=context.device)
    index = torch.arange(len(context), device=context.device) if context_index is None else context_index
    return index != samples.unsqueeze(1)


def frontdoor_aggregate(
    context: Tensor,
    mediators: Tensor,
    attention: Tensor | None,
    head: Head,
    *,
    attention_logits: Tensor | None = None,
    activation: str = "relu",
    exclude_self: bool = False,
    context_index: Tensor | None = None,
) -> Tensor:
    values = probabilities(context, mediators, head, activation)
    if exclude_self:
        keep = kept(context, len(mediators), context_index)
        means = torch.where(keep.unsqueeze(1), values, 0).sum(2) / keep.sum(1, keepdim=True)
    else:
        means = values.mean(2)
    weights = torch.softmax(attention_logits, 1) if attention_logits is not None else attention
    assert weights is not None
    return (weights * means).sum(1)
