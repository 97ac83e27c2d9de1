"""`lookahead_loss_for` in plain torch: the step is kept in the graph, and differentiated a second time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from debias_ext.reference._losses import reduce
from debias_ext.reference.lookahead_loss import lower_loss_of, rows


def lookahead_loss_for(
    model_fn: Callable[..., Tensor],
    params: Mapping[str, Tensor],
    *,
    lower: Mapping[str, Any],
    upper: Mapping[str, Any],
    lr: float,
) -> Tensor:
    with torch.enable_grad():
        leaves = {name: parameter.detach().requires_grad_() for name, parameter in params.items()}
        missing = lower.get("missing")
        of_missing = None if missing is None else model_fn(leaves, *missing["inputs"])
        loss = lower_loss_of(model_fn(leaves, *lower["inputs"]), of_missing, lower)
        gradients = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, materialize_grads=True)
    stepped = {name: leaf.detach() - lr * g for (name, leaf), g in zip(leaves.items(), gradients, strict=True)}
    return reduce(rows(model_fn(stepped, *upper["inputs"]), upper), upper.get("reduction", "mean"))
