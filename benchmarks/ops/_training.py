"""What the benchmarks of the fused training steps share: a factor model in plain torch, and one in FBGEMM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FBGEMM = "FBGEMM"
LR, EPS, ACCUMULATOR = 1e-3, 1e-3, 0.1
Batch = tuple[Tensor, Tensor, Tensor]  # users, items, targets


class Rows:
    """The rows that a step has changed, read when the harness compares and not while it times."""

    def __init__(self, *tables_and_rows: tuple[Tensor, Tensor]) -> None:
        self.tables_and_rows = tables_and_rows

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.concatenate([table.detach()[rows].numpy() for table, rows in self.tables_and_rows])


def plain_optimizer(kind: str, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """torch's own: sparse Adagrad, SparseAdam, or the fused dense Adam."""
    if kind == "adagrad":
        return torch.optim.Adagrad(parameters, lr=LR, eps=EPS, initial_accumulator_value=ACCUMULATOR)
    if kind == "lazy_adam":
        return torch.optim.SparseAdam(parameters, lr=LR, eps=EPS)
    return torch.optim.Adam(parameters, lr=LR, eps=EPS, fused=True)


class PlainModel:
    """Two embedding tables, autograd, and an optimiser of torch; sparse gradients where the optimiser takes them."""

    def __init__(self, kind: str, tables: tuple[Tensor, Tensor]) -> None:
        self.tables = [torch.nn.Parameter(table.clone()) for table in tables]
        self.optimizer = plain_optimizer(kind, self.tables)
        self.sparse = kind != "adam"

    def step(self, batch: Batch) -> Tensor:
        users, items, targets = batch
        user_rows, item_rows = (
            F.embedding(index, table, sparse=self.sparse)
            for index, table in zip((users, items), self.tables, strict=True)
        )
        loss = ((user_rows * item_rows).sum(1) - targets).square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def fbgemm_step(kind: str, tables: tuple[Tensor, Tensor], rows: int) -> tuple[Callable[[Batch], Tensor], list[Tensor]]:
    """FBGEMM's table-batched embedding on the CPU with its optimiser inside: a step, and the tables.

    Raises:
        ImportError: fbgemm_gpu is not installed, or does not load beside this torch.
    """
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    d = tables[0].shape[1]
    kinds = {"adagrad": EmbOptimType.EXACT_ADAGRAD, "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD}
    model = SplitTableBatchedEmbeddingBagsCodegen(
        [(len(table), d, EmbeddingLocation.HOST, ComputeDevice.CPU) for table in tables],
        optimizer=kinds[kind],
        learning_rate=LR,
        eps=EPS,
    )
    held = model.split_embedding_weights()
    for table, own in zip(tables, held, strict=True):
        own.copy_(table)
    for state in model.split_optimizer_states():
        for moment in state:
            moment.fill_(ACCUMULATOR)
    offsets = torch.arange(2 * rows + 1)

    def step(batch: Batch) -> Tensor:
        users, items, targets = batch
        embedded = model(torch.cat([users, items]), offsets)
        loss = ((embedded[:, :d] * embedded[:, d:]).sum(1) - targets).square().sum()
        loss.backward()
        return loss.detach()

    return step, held
