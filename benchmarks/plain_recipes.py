"""The recipes of the methods in plain torch: embeddings by indexing, autograd, torch.optim, every pair of a block in a
matrix. The oracle of the training loop, and what its benchmark runs against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from debiasrec.training.loader import Batch, BlockLoader


class PlainModel:
    """A factor model with leaves of its own, and plain SGD."""

    def __init__(self, tables: dict[str, Tensor], lr: float) -> None:
        self.tables = [table.detach().clone().requires_grad_() for table in tables.values()]
        self.optimizer = torch.optim.SGD(self.tables, lr)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        p, q, a, b = self.tables
        return (p[users] * q[items]).sum(1) + a[users] + b[items]

    def matrix(self, users: Tensor, items: Tensor) -> Tensor:
        p, q, a, b = self.tables
        return p[users] @ q[items].T + a[users].unsqueeze(1) + b[items]

    def step(self, loss: Tensor, users: Tensor, items: Tensor, l2: float) -> Tensor:
        """A step on loss + l2 / 2 (squared norms of the distinct rows)."""
        p, q = self.tables[:2]
        rows = p[users.unique()].square().sum() + q[items.unique()].square().sum()
        self.optimizer.zero_grad()
        (loss + l2 / 2 * rows).backward()
        self.optimizer.step()
        return loss.detach()


class PlainBlocks:
    """The batches of a block loader, the rated pairs of each found by flags over all of them."""

    def __init__(self, loader: BlockLoader) -> None:
        self.loader = loader

    def epoch(self, number: int) -> Iterator[Batch]:
        loader, generator = self.loader, np.random.default_rng((self.loader.seed, number))
        shuffled = generator.permutation(loader.n_users)
        user_blocks = [
            shuffled[start : start + loader.user_block] for start in range(0, len(shuffled), loader.user_block)
        ]
        orders = [generator.permutation(loader.n_items) for _ in user_blocks]
        for users, order in zip(user_blocks, orders, strict=True):
            for start in range(0, loader.n_items, loader.item_block):
                block = [torch.from_numpy(np.sort(rows)) for rows in (users, order[start : start + loader.item_block])]
                yield self._batch(block[0], block[1], generator)

    def _batch(self, users: Tensor, items: Tensor, generator: np.random.Generator) -> Batch:
        columns = dict(self.loader.columns)
        flags = torch.zeros(self.loader.n_users, dtype=torch.bool), torch.zeros(self.loader.n_items, dtype=torch.bool)
        flags[0][users] = flags[1][items] = True
        inside = (flags[0][columns["users"]] & flags[1][columns["items"]]).nonzero().squeeze(1)
        own = {name: column[inside] for name, column in columns.items()}
        return Batch(own.pop("users"), own.pop("items"), own, (users, items), generator)


class PlainRecipe:
    """The summed losses of MF, IPS, SNIPS (weights) and DR over the batches of a loader."""

    def __init__(self, method) -> None:
        self.method = method
        self.rating = PlainModel(method.model_.tables(), method.lr)
        if method.name == "dr":
            self.imputation = PlainModel(method.imputation_.tables(), method.lr)

    def step(self, batch) -> Tensor:
        weights = batch.columns.get("weights", torch.ones(len(batch)))
        rows = batch.block if self.method.l2_rows == "block" else (batch.users, batch.items)
        if self.method.name == "dr":
            return self._doubly_robust(batch, weights, rows)
        scores = self.rating.scores(batch.users, batch.items)
        return self.rating.step((weights * (scores - batch["targets"]).square()).sum(), *rows, self.method.l2)

    @staticmethod
    def all_pairs(model: PlainModel, users: Tensor, items: Tensor) -> Tensor:
        return model.matrix(users, items)

    def _doubly_robust(self, batch, weights: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
        users, items, l2 = batch.users, batch.items, self.method.l2
        if len(batch):
            residual = batch["targets"] - self.rating.scores(users, items).detach()
            loss = (weights * (self.imputation.scores(users, items) - residual).square()).sum()
            self.imputation.step(loss, *rows, l2)
        scores = self.all_pairs(self.rating, *batch.block)
        pseudo = scores.detach() + self.all_pairs(self.imputation, *batch.block).detach()
        at = torch.searchsorted(batch.block[0], users), torch.searchsorted(batch.block[1], items)
        imputed = (scores - pseudo).square()
        rated = (weights * ((scores[at] - batch["targets"]).square() - imputed[at])).sum()
        return self.rating.step(imputed.sum() + rated, *rows, l2)


class EnumeratedRecipe(PlainRecipe):
    """As the published program has it: every pair of a block by itself, gathers forward and scatters backward."""

    @staticmethod
    def all_pairs(model: PlainModel, users: Tensor, items: Tensor) -> Tensor:
        pairs = users.repeat_interleave(len(items)), items.repeat(len(users))
        p, q, a, b = (
            F.embedding(index, table.view(len(table), -1)) for index, table in zip(pairs * 2, model.tables, strict=True)
        )
        return ((p * q).sum(1) + a.squeeze(1) + b.squeeze(1)).view(len(users), len(items))
