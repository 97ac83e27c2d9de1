"""A neural score of a user and an item."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from debiasrec.models.base import Model
from debiasrec.models.initial import he_normal

# Hidden units that `grid` holds at a time.
_UNITS_AT_ONCE = 1 << 24


class NCF(Model):
    """s(u, i) = w . relu(A P[u] + B Q[i] + c), one hidden layer over two embeddings.

    Args:
        n_users, n_items: numbers of rows of the tables.
        factors: length d of the embeddings, and number of hidden units.
        seed: seeds the initial values: Normal(0, sqrt(2 / rows)) for the embeddings, uniform up to sqrt(1 / inputs) for
            the layers.
        device: where the tables live; the initial values are drawn on the CPU, so they do not depend on it.

    Source: He et al., Neural Collaborative Filtering, WWW 2017, section 3.3, with one hidden layer as in the public
    program of Wang et al. (Bal, WWW 2023).
    """

    kind: ClassVar[str] = "ncf"

    def __init__(
        self,
        n_users: int,
        n_items: int,
        factors: int,
        *,
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        generator = np.random.default_rng(seed)

        def layer(inputs: int, *shape: int) -> Tensor:
            bound = math.sqrt(1.0 / inputs)
            values = generator.uniform(-bound, bound, shape).astype(np.float32)
            return torch.from_numpy(values).to(device).requires_grad_()

        self.n_items = n_items
        self.user_factors = he_normal(generator, n_users, factors, device=device)
        self.item_factors = he_normal(generator, n_items, factors, device=device)
        self.user_layer = layer(2 * factors, factors, factors)
        self.item_layer = layer(2 * factors, factors, factors)
        self.hidden_bias = layer(2 * factors, factors)
        self.output_layer = layer(factors, factors)

    def tables(self) -> dict[str, Tensor]:
        """The embeddings and the layers by name, live (not copies)."""
        names = ("user_factors", "item_factors", "user_layer", "item_layer", "hidden_bias", "output_layer")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> dict[str, Any]:
        """The shape."""
        n_users, factors = self.user_factors.shape
        return {"n_users": n_users, "n_items": self.n_items, "factors": factors}

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs, [B], differentiable in the tables; see `Model.score`."""
        of_users, of_items = self._hidden(users, items)
        return torch.relu(of_users + of_items) @ self.output_layer

    def grid(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of all pairs of a user block and an item block, [m, n], differentiable in the tables.

        The hidden units of a few users at a time: they are made again for the gradients.
        """
        of_users, of_items = self._hidden(users, items)
        rows = max(1, _UNITS_AT_ONCE // max(1, of_items.numel()))
        parts = [
            checkpoint(_last_layer, part, of_items, self.output_layer, use_reentrant=False, preserve_rng_state=False)
            for part in of_users.split(rows)
        ]
        return torch.cat(parts)

    def _hidden(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """What the users and the items add to the hidden units, before the activation."""
        of_users = self.user_factors.index_select(0, users) @ self.user_layer.T + self.hidden_bias
        return of_users, self.item_factors.index_select(0, items) @ self.item_layer.T


def _last_layer(of_users: Tensor, of_items: Tensor, output_layer: Tensor) -> Tensor:
    return torch.relu(of_users.unsqueeze(1) + of_items) @ output_layer
