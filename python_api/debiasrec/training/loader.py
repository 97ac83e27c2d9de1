"""Loaders: how the rated pairs of an epoch are cut into steps.

The order of epoch e depends on (seed, e) alone, so training can continue at any epoch without a stored generator state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import debias_ext


@dataclass(frozen=True)
class Batch:
    """The rated pairs of one step.

    Attributes:
        users, items: int64 [B], inside indices.
        columns: further columns of the rated pairs by name, [B]: float32 targets and weights, int64 labels and keys,
            bool marks; the dtype is that of the array that the method gave.
        block: int64 vectors, every user and every item of the block, in ascending order; None in a flat batch.
        generator: for what a step draws itself.
    """

    users: Tensor
    items: Tensor
    columns: dict[str, Tensor]
    block: tuple[Tensor, Tensor] | None
    generator: np.random.Generator

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def places(self, n_users: int, n_items: int) -> tuple[Tensor, Tensor]:
        """Rows and columns of the rated pairs within the block, int64 [B]."""
        assert self.block is not None
        return _places(self.users, self.block[0], n_users), _places(self.items, self.block[1], n_items)


class _Loader:
    def __init__(self, columns: dict[str, Tensor], seed: int) -> None:
        self.columns = columns
        self.seed = int(seed) % 2**63

    def __len__(self) -> int:
        return len(self.columns["users"])

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch))

    def _ordered(self, order: Tensor) -> dict[str, Tensor]:
        index = order.to(self.columns["users"].device)
        return {name: column.index_select(0, index) for name, column in self.columns.items()}

    @staticmethod
    def _batch(
        columns: dict[str, Tensor],
        rows: slice,
        generator: np.random.Generator,
        block: tuple[Tensor, Tensor] | None = None,
    ) -> Batch:
        part = {name: column[rows] for name, column in columns.items()}
        return Batch(part.pop("users"), part.pop("items"), part, block, generator)


class FlatLoader(_Loader):
    """Shuffled mini-batches of rated pairs, in the order of `debias_ext.mf_epoch_`; the last one may be smaller.

    Args:
        columns: "users", "items" (int64 [n]) and further columns [n].
        batch_size: pairs per step.
        seed: seeds the order.
    """

    def __init__(self, columns: dict[str, Tensor], *, batch_size: int, seed: int) -> None:
        super().__init__(columns, seed)
        self.batch_size = batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        generator = self._generator(number)
        columns = self._ordered(debias_ext.mf_epoch_order(len(self), self.seed, number))
        for start in range(0, len(self), self.batch_size):
            yield self._batch(columns, slice(start, start + self.batch_size), generator)


class BlockLoader(_Loader):
    """User blocks times item blocks, as in the public AutoDebias programs.

    Each epoch shuffles the users into blocks, and for every user block the items anew; a step sees the rated pairs
    inside one user block x item block. One bucket sort per epoch finds the pairs of all blocks.

    Args:
        columns: "users", "items" (int64 [n]) and further columns [n].
        shape: numbers of users and items, rated or not.
        block: users and items per block; the last blocks may be smaller.
        seed: seeds the order.
        skip_empty: leave out blocks without a rated pair.
    """

    def __init__(
        self,
        columns: dict[str, Tensor],
        *,
        shape: tuple[int, int],
        block: tuple[int, int],
        seed: int,
        skip_empty: bool = True,
    ) -> None:
        super().__init__(columns, seed)
        self.n_users, self.n_items = shape
        self.user_block, self.item_block = block
        self.skip_empty = skip_empty

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        generator = self._generator(number)
        device = self.columns["users"].device
        user_blocks, user_part = _chunks(self.n_users, self.user_block, generator)
        shuffled = [_chunks(self.n_items, self.item_block, generator) for _ in user_blocks]
        n_item_blocks = -(-self.n_items // self.item_block)
        n_blocks = len(user_blocks) * n_item_blocks
        # 16-bit keys take a radix sort of two passes.
        dtype = np.int16 if n_blocks < 2**15 else np.int64
        block_of = np.stack([part + k * n_item_blocks for k, (_, part) in enumerate(shuffled)]).astype(dtype)
        cells = torch.from_numpy(user_part * self.n_items).to(device).index_select(0, self.columns["users"])
        keys = torch.from_numpy(block_of).flatten().to(device).index_select(0, cells.add_(self.columns["items"]))
        columns = self._ordered(torch.argsort(keys, stable=True))
        ends = torch.bincount(keys, minlength=n_blocks).cumsum(0).tolist()
        start = 0
        for block, end in enumerate(ends):
            if end > start or not self.skip_empty:
                users = torch.from_numpy(user_blocks[block // n_item_blocks]).to(device)
                items = torch.from_numpy(shuffled[block // n_item_blocks][0][block % n_item_blocks]).to(device)
                yield self._batch(columns, slice(start, end), generator, (users, items))
            start = end


def _places(indices: Tensor, block: Tensor, count: int) -> Tensor:
    places = block.new_empty(count)
    places[block] = torch.arange(len(block), device=block.device)
    return places.index_select(0, indices)


def _chunks(count: int, size: int, generator: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """A random cut of 0..count-1: the blocks (each ascending), and the block number of each element."""
    order = generator.permutation(count)
    blocks = [np.sort(order[start : start + size]) for start in range(0, count, size)]
    part = np.empty(count, dtype=np.int64)
    part[order] = np.arange(count) // size
    return blocks, part
