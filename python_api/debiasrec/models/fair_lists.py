"""A matrix factorisation whose lists are re-ranked for the fairness of exposure."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.models.fair_exposure import fair_places
from debiasrec.models.matrix_factorization import MatrixFactorization


class FairLists(MatrixFactorization):
    """Ranks what it is given in one call: the candidates of a user are that user's rows, and the score is -1 - place.

    Args:
        n_users, n_items, factors, offset: of the matrix factorisation whose lists are re-ranked.
        n_groups: number of groups of items.
        order_seed: seeds the order in which users choose.

    Attributes:
        item_groups: int64 [n_items], in 0..n_groups-1.
    """

    kind: ClassVar[str] = "fair_lists"

    def __init__(
        self, n_users: int, n_items: int, factors: int, *, offset: float = 0.0, n_groups: int, order_seed: int
    ) -> None:
        super().__init__(n_users, n_items, factors, offset=offset)
        self.n_groups, self.order_seed = n_groups, order_seed
        self.item_groups = torch.zeros(n_items, dtype=torch.int64)

    def constants(self) -> dict[str, Tensor]:
        """The groups of the items."""
        return {"item_groups": self.item_groups}

    def settings(self) -> dict[str, Any]:
        """Those of the matrix factorisation, the number of groups and the seed."""
        return {**super().settings(), "n_groups": self.n_groups, "order_seed": self.order_seed}

    @torch.no_grad()
    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """-1 for the first item of each user's list, -2 for the second, …: [B]."""
        scores = super().score(users, items)
        return -1.0 - torch.from_numpy(self._places(users.numpy(), items.numpy(), scores.numpy())).float()

    @torch.no_grad()
    def best(self, users: np.ndarray, k: int, *, seen: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Lists of k unseen items for these users together; see `Model.best`."""
        unseen = np.ones((len(users), self.n_items), dtype=bool)
        for row, user in enumerate(users):
            unseen[row, seen[1][seen[0][user] : seen[0][user + 1]]] = False
        rows, candidates = np.nonzero(unseen)
        scores = super().score(torch.tensor(users[rows]), torch.tensor(candidates)).numpy()
        places = self._places(rows, candidates, scores, k)
        chosen, items = places >= 0, np.full((len(users), k), -1)
        items[rows[chosen], places[chosen]] = candidates[chosen]
        ranks = np.broadcast_to(-1.0 - np.arange(k), items.shape)
        return np.where(items >= 0, ranks, -np.inf).astype(np.float32), items

    def _places(
        self, users: np.ndarray, items: np.ndarray, scores: np.ndarray, length: int | None = None
    ) -> np.ndarray:
        groups = self.item_groups.numpy()
        shares = np.bincount(groups, minlength=self.n_groups) / max(len(groups), 1)
        generator = np.random.default_rng(self.order_seed)
        return fair_places(users, groups[items], scores, shares, generator, length)
