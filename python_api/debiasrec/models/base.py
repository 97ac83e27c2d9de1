"""What every score model can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

import debias_ext

# Scores that `best` holds at a time.
_SCORES_AT_ONCE = 1 << 22


class Model(ABC):
    """Turns a user and an item into a number. Every tensor it names is an attribute of that name."""

    kind: ClassVar[str]
    n_items: int

    @abstractmethod
    def tables(self) -> dict[str, Tensor]:
        """What training changes, by name, live (not copies)."""

    def constants(self) -> dict[str, Tensor]:
        """What scores need beside the tables and training does not change, by name."""
        return {}

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `blank` needs to build a model of the same shape; JSON can hold it."""

    @classmethod
    def blank(cls, **settings: Any) -> Self:
        """A model of that shape, whose tables and constants are still to be filled in."""
        return cls(**settings)

    @abstractmethod
    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs, [B], differentiable in the tables.

        Args:
            users, items: int64 [B], inside indices.
        """

    def loss(self, users: Tensor, items: Tensor, targets: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
        """The squared error of pairs, weighted and reduced, differentiable in the tables.

        Args:
            users, items, targets, weights: [B]; no weights are weights of 1.
            reduction: "sum" or "mean".
        """
        return debias_ext.pointwise_loss(self.score(users, items), targets, weights, reduction=reduction)

    def best(self, users: np.ndarray, k: int, *, seen: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The k items of the highest scores that each user has not seen: (scores, items), both [n, k].

        Args:
            users: int64 [n], inside indices.
            k: items per user; places for which no item is left have item -1 and score minus infinity.
            seen: (offsets [U + 1], items), int64: user u has seen items[offsets[u] : offsets[u + 1]].
        """
        scores, items = np.full((len(users), k), -np.inf, np.float32), np.full((len(users), k), -1)
        rows = max(1, _SCORES_AT_ONCE // max(self.n_items, 1))
        for start in range(0, len(users), rows):
            part = slice(start, start + rows)
            every = self._catalogue_scores(users[part])
            for row, user in enumerate(users[part]):
                every[row, seen[1][seen[0][user] : seen[0][user + 1]]] = -np.inf
            order = np.argsort(-every, axis=1, kind="stable")[:, :k]
            values = np.take_along_axis(every, order, 1)
            scores[part, : order.shape[1]] = values
            items[part, : order.shape[1]] = np.where(values > -np.inf, order, -1)
        return scores, items

    @torch.no_grad()
    def _catalogue_scores(self, users: np.ndarray) -> np.ndarray:
        pairs = torch.tensor(users).repeat_interleave(self.n_items), torch.arange(self.n_items).repeat(len(users))
        return self.score(*pairs).reshape(len(users), self.n_items).numpy().astype(np.float32)

    def to_(self, device: str | torch.device) -> Self:
        """Move the tensors to a device, in place."""
        for name, tensor in self.tables().items():
            setattr(self, name, tensor.detach().to(device).requires_grad_(tensor.requires_grad))
        for name, tensor in self.constants().items():
            setattr(self, name, tensor.to(device))
        return self
