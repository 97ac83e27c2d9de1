"""A propensity model whose parameters a method learns."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..data.covariates import covariates
from ..data.validation import some
from ..errors import DebiasRecError

if TYPE_CHECKING:
    from ..data.dataset import Interactions, Split

# Below it no propensity falls: q = FLOOR + (1 - FLOOR) sigmoid(z) keeps a gradient where a clamp would have none.
FLOOR = 1e-3


def floored(logits: Tensor) -> Tensor:
    """FLOOR + (1 - FLOOR) sigmoid(logits), of any shape."""
    return FLOOR + (1.0 - FLOOR) * torch.sigmoid(logits)


KINDS = ("pair", "logistic", "mlp1", "mlp2")
ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
_LAYERS = {"logistic": 0, "mlp1": 1, "mlp2": 2}


class PropensityNetwork:
    """q = floor + (1 - floor) sigmoid(z) of pairs whose rating is known.

    z is a free number of every rated pair ("pair"), linear ("logistic") or the output of a network with one or two
    hidden layers ("mlp1", "mlp2") in the covariates of the user, those of the item, and the rating as a one-hot vector.
    All start near z = 0.

    Args:
        kind: as above.
        split: where covariates and rating values come from.
        rows: the pairs of "pair".
        hidden: width of the hidden layers.
        activation: "relu", "sigmoid" or "tanh".
        seed: of the initial weights, Glorot normal.

    Source: Wang et al., "Combating Selection Biases in Recommender Systems with a Few Unbiased Ratings", WSDM 2021,
        sections 4.3 and 5.1.
    """

    def __init__(
        self,
        kind: str,
        split: Split,
        rows: Interactions,
        *,
        hidden: int,
        activation: str,
        seed: int | tuple[int, ...],
    ) -> None:
        data = split.dataset
        parts = [part for part in (data.biased, data.uniform) if part is not None]
        self.kind, self.activation, self._shape = kind, ACTIVATIONS[activation], (data.n_users, data.n_items)
        self._values = np.unique(np.concatenate([part.ratings for part in parts]))
        self._tables: dict[str, Tensor] = {}
        if kind == "pair":
            self._cells = np.unique(rows.users * data.n_items + rows.items)
            self._tables["logits"] = torch.zeros(len(self._cells), requires_grad=True)
            return
        self._users, self._items = (torch.from_numpy(side) for side in covariates(split))
        widths = [self._users.shape[1] + self._items.shape[1] + len(self._values), *[hidden] * _LAYERS[kind], 1]
        generator = np.random.default_rng(seed)
        for layer, (n_in, n_out) in enumerate(pairwise(widths)):
            weight = generator.normal(0.0, math.sqrt(2.0 / (n_in + n_out)), (n_out, n_in)).astype(np.float32)
            self._tables[f"weight{layer}"] = torch.from_numpy(weight).requires_grad_()
            self._tables[f"bias{layer}"] = torch.zeros(n_out, requires_grad=True)

    def tables(self) -> dict[str, Tensor]:
        """The parameters by name, live."""
        return dict(self._tables)

    def to_(self, device: str | torch.device) -> None:
        """Move the tensors to a device, in place."""
        for table in self._tables.values():
            table.data = table.data.to(device)
        if self.kind != "pair":
            self._users, self._items = self._users.to(device), self._items.to(device)

    def keys(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray) -> np.ndarray:
        """What the network looks up beside users and items: the place of each pair, or the number of its rating value.

        Raises:
            DebiasRecError: a pair that "pair" was not made for, or a rating that is no value of the data set.
        """
        if self.kind == "pair":
            known, asked, what = self._cells, users * self._shape[1] + items, "pairs have no propensity of their own"
        else:
            known, asked, what = self._values, np.asarray(ratings, np.float32), "ratings are no value of the data set"
        places = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        wrong = asked[known[places] != asked]
        if len(wrong):
            raise DebiasRecError(f"{len(wrong):,} {what}: {some(np.unique(wrong))}")
        return places

    def __call__(self, users: Tensor, items: Tensor, keys: Tensor) -> Tensor:
        """Propensities [B], differentiable in the tables.

        Args:
            users, items: int64 [B].
            keys: int64 [B], from `keys`.
        """
        return floored(self._logits(users, items, keys))

    def _logits(self, users: Tensor, items: Tensor, keys: Tensor) -> Tensor:
        if self.kind == "pair":
            return self._tables["logits"].index_select(0, keys)
        rating = torch.nn.functional.one_hot(keys, len(self._values))
        sides = self._users.index_select(0, users), self._items.index_select(0, items)
        values = torch.cat([*sides, rating.to(sides[0].dtype)], 1)
        for layer in range(_LAYERS[self.kind]):
            values = self.activation(self._layer(layer, values))
        return self._layer(_LAYERS[self.kind], values)[:, 0]

    def _layer(self, layer: int, values: Tensor) -> Tensor:
        return torch.nn.functional.linear(values, self._tables[f"weight{layer}"], self._tables[f"bias{layer}"])

    @torch.no_grad()
    def predict(self, users: np.ndarray, items: np.ndarray, ratings: np.ndarray | None = None) -> np.ndarray:
        """Propensities of pairs, float64 [n].

        Args:
            users, items: int64 [n], inside ids.
            ratings: [n], in stars; "pair" ignores them.

        Raises:
            DebiasRecError: as `keys`.
        """
        if ratings is None:
            ratings = np.full(len(users), np.nan, np.float32)
        arrays = users, items, self.keys(users, items, ratings)
        device = next(iter(self._tables.values())).device
        return self(*(torch.tensor(array, device=device) for array in arrays)).cpu().numpy().astype(np.float64)
