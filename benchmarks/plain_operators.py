"""The methods over the references of the operators: the same steps in plain torch, every pair listed, double backward.

They are written to be right, not fast: a ratio to them is not one to a published program."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

import debias_ext
from debias_ext import FactorTables, reference

TRAINING = (
    "additive_weights",
    "block_loss",
    "exposure_loss",
    "interd_loss",
    "lookahead_loss",
    "lookahead_loss_for",
    "mf_loss",
    "mf_score",
    "mf_step_",
    "optimizer_step_",
    "pair_loss",
    "pointwise_loss",
    "relmf_loss",
)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Within it every training operator is its plain-torch reference.

    Indexing and autograd instead of fused passes; the assumed step stays in the graph and is differentiated twice; of a
    block every pair is listed, and its rows are gathered from the tables; whole tables are stepped by torch.optim.
    """
    with ExitStack() as stack:
        for name in TRAINING:
            function = torch_optimizer_step_ if name == "optimizer_step_" else getattr(reference, name)
            stack.enter_context(patch.object(debias_ext, name, _without_options(function)))
        blocks = sys.modules["debias_ext.reference.block_loss"]
        stack.enter_context(patch.object(blocks, "all_scores", listed_scores))
        yield


def listed_scores(tables: FactorTables) -> Tensor:
    """The scores of all pairs of a block, [m, n], each from rows that are gathered for it."""
    m, n = len(tables.user_factors), len(tables.item_factors)
    users, items = torch.arange(m).repeat_interleave(n), torch.arange(n).repeat(m)
    return reference.mf_score(
        tables.user_factors, tables.item_factors, users, items, tables.user_bias, tables.item_bias
    ).reshape(m, n)


@torch.no_grad()
def torch_optimizer_step_(
    tables: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    kind: str,
    lr: float,
    first: Sequence[Tensor] = (),
    second: Sequence[Tensor] = (),
    step: int = 1,
    weight_decay: float = 0.0,
) -> None:
    """`debias_ext.optimizer_step_` as torch.optim does it on the CPU unless told otherwise."""
    given = list(tables), [gradient.to_dense() for gradient in gradients]
    steps = [torch.tensor(float(step - 1)) for _ in tables]
    options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "maximize": False, "foreach": False}
    if kind == "adam":
        betas = {"beta1": 0.9, "beta2": 0.999}
        adam(*given, list(first), list(second), [], steps, amsgrad=False, eps=1e-8, **betas, **options)
    elif kind == "adagrad":
        adagrad(*given, list(second), steps, lr_decay=0.0, eps=1e-10, **options)
    else:
        sgd(*given, [None] * len(steps), momentum=0.0, dampening=0.0, nesterov=False, **options)


def _without_options(function: Any) -> Any:
    """References check nothing, and take no `validate`."""

    def call(*arguments: Any, validate: bool = True, **options: Any) -> Any:
        return function(*arguments, **options)

    return call
