"""Click models: the score of an item for a user after the items that the user clicked before."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from debiasrec.models.base import Model

# Samples that `score` takes at a time: a history of 50 holds 50 x 64 hidden values of each.
_SAMPLES_AT_ONCE = 8192


class Samples(NamedTuple):
    """What a click model reads of B pairs.

    Attributes:
        users, items: int64 [B].
        history: int64 [B, T], the items clicked before, in time order; places from the length on hold any item.
        lengths: int64 [B].
    """

    users: Tensor
    items: Tensor
    history: Tensor
    lengths: Tensor


class Encoded(NamedTuple):
    """What a click model says of B pairs: the mediator [B, m], its predictor's input; and the logit [B] of a click."""

    mediator: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Sequences:
    """The clicks of every user in time order.

    Args:
        offsets: int64 [U + 1]; user u clicked items[offsets[u] : offsets[u + 1]].
        items: int64.
        held: int64 [U], how many of these at the end are for validation.
    """

    offsets: np.ndarray
    items: np.ndarray
    held: np.ndarray


class ClickModel(Model):
    """A logit from the embeddings of the item, of the items clicked before, and, where `user_width`, of the user.

    Args:
        sequences: the clicks; a score is that of the next one.
        n_items: I.
        factors: length d of the embeddings.
        history: T, how many clicks before a target are read at most.
        user_width: length of the users' embeddings; 0 for none, which a model of some users needs to serve others.
        confounder: float32 ([U, c], [I, c]) whose products are the substitute confounder of a pair, or None; the logit
            then has the term gamma_u times it.
        seed: seeds the initial values: Normal(0, 0.01) for embeddings, Glorot normal for layers, 0 for the rest.
        device: where the tensors live.
    """

    user_factors: Tensor
    item_factors: Tensor
    confounder_weight: Tensor

    def __init__(
        self,
        sequences: Sequences,
        n_items: int,
        factors: int,
        *,
        history: int = 50,
        user_width: int = 0,
        confounder: tuple[np.ndarray, np.ndarray] | None = None,
        seed: int | tuple[int, ...] = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self._generator, self._device = np.random.default_rng(seed), device
        self._tables: list[str] = []
        n_users = len(sequences.held)
        self.n_items, self.history = n_items, history
        self.click_offsets, self.clicks, self.held = (
            torch.from_numpy(np.array(part)).to(device) for part in (sequences.offsets, sequences.items, sequences.held)
        )
        self._add("user_factors", (n_users, user_width), 0.01)
        self._add("item_factors", (n_items, factors), 0.01)
        self._make(factors, user_width)
        if confounder is None:
            confounder = np.zeros((n_users, 0), np.float32), np.zeros((n_items, 0), np.float32)
        self.user_confounder, self.item_confounder = (
            torch.from_numpy(np.array(side)).to(device) for side in confounder
        )
        self._add("confounder_weight", (n_users if confounder[0].shape[1] else 0,), 0.0)

    @abstractmethod
    def _make(self, factors: int, user_width: int) -> None:
        """Add the tables of the layers."""

    @abstractmethod
    def _forward(self, samples: Samples, training: bool) -> Encoded:
        """Mediator and logit without the confounder's term."""

    @property
    @abstractmethod
    def mediator_width(self) -> int:
        """m."""

    def encode(self, samples: Samples, *, training: bool = False) -> Encoded:
        """Mediators and logits of samples, differentiable in the tables.

        Args:
            samples: from `samples`, also that of another model of the same users and items.
            training: whether statistics are those of these samples, and are remembered.
        """
        mediator, logits = self._forward(samples, training)
        if len(self.confounder_weight):
            user, item = self.user_confounder[samples.users], self.item_confounder[samples.items]
            logits = logits + self.confounder_weight[samples.users] * (user * item).sum(1)
        return Encoded(mediator, logits)

    def samples(self, users: Tensor, items: Tensor, ends: Tensor) -> Samples:
        """Pairs with the last clicks of the users before the places `ends` among all clicks, int64 [B]."""
        lengths = (ends - self.click_offsets[users]).clamp(max=self.history)
        longest = max(int(lengths.max()), 1) if len(lengths) else 1
        places = (ends - lengths).unsqueeze(1) + torch.arange(longest, device=ends.device)
        return Samples(users, items, self.clicks[places.clamp(max=max(len(self.clicks) - 1, 0))], lengths)

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of a next click after all known ones, [B]; see `Model.score`."""
        return self._score(users, items, self.click_offsets[users + 1])

    def score_validation(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of a click after those that are not for validation, [B]."""
        return self._score(users, items, self.click_offsets[users + 1] - self.held[users])

    def _score(self, users: Tensor, items: Tensor, ends: Tensor) -> Tensor:
        parts = zip(*(column.split(_SAMPLES_AT_ONCE) for column in (users, items, ends)), strict=True)
        return torch.cat([self.encode(self.samples(*part)).logits for part in parts])

    def tables(self) -> dict[str, Tensor]:
        """The parameters, and running statistics where there are any, by name, live."""
        return {name: getattr(self, name) for name in self._tables}

    def constants(self) -> dict[str, Tensor]:
        """The clicks, and the factors of the substitute confounder."""
        names = ("click_offsets", "clicks", "held", "user_confounder", "item_confounder")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> dict[str, Any]:
        """The shape."""
        return {
            "shape": [len(self.held), self.n_items, len(self.clicks), self.user_confounder.shape[1]],
            "factors": self.item_factors.shape[1],
            "history": self.history,
            "user_width": self.user_factors.shape[1],
        }

    @classmethod
    def blank(cls, **settings: Any) -> Any:
        """A model of that shape, whose tables and constants are still to be filled in."""
        n_users, n_items, n_clicks, width = settings.pop("shape")
        users = np.zeros(n_users, np.int64)
        clicks = Sequences(np.zeros(n_users + 1, np.int64), np.zeros(n_clicks, np.int64), users)
        confounder = np.zeros((n_users, width), np.float32), np.zeros((n_items, width), np.float32)
        return cls(clicks, n_items, confounder=confounder, **settings)

    def _add(self, name: str, shape: tuple[int, ...], deviation: float, *, trained: bool = True) -> None:
        values = deviation * self._generator.standard_normal(shape)
        setattr(self, name, torch.from_numpy(values.astype(np.float32)).to(self._device).requires_grad_(trained))
        self._tables.append(name)

    def _add_layers(self, name: str, widths: Sequence[int]) -> None:
        for k, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            self._add(f"{name}_weight_{k}", (fan_out, fan_in), math.sqrt(2.0 / (fan_in + fan_out)))
            self._add(f"{name}_bias_{k}", (fan_out,), 0.0)

    def _layer(self, name: str, k: int) -> tuple[Tensor, Tensor]:
        return getattr(self, f"{name}_weight_{k}"), getattr(self, f"{name}_bias_{k}")

    def _relu_layers(self, name: str, count: int, hidden: Tensor) -> Tensor:
        for k in range(count):
            hidden = torch.relu(F.linear(hidden, *self._layer(name, k)))
        return hidden

    def _embed(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """Embeddings of users [B, w] and items [B, d]."""
        return F.embedding(samples.users, self.user_factors), F.embedding(samples.items, self.item_factors)
