"""DeepFM: a factorisation machine and a deep network over the same embeddings."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import debias_ext
from debiasrec.models.clicks import ClickModel, Encoded, Samples

DEEP = (256, 128)


class DeepFM(ClickModel):
    """z = linear part + sum of the dot products of all pairs of fields + w . MLP(fields).

    The fields are the user (where it has an embedding), the item, and the mean of the history; the network has hidden
    layers of 256 and 128 units with ReLU. The mediator is its last hidden layer.

    Source: Guo et al., DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017, eq (1)-(4).
    """

    kind: ClassVar[str] = "deepfm"
    user_bias: Tensor
    item_bias: Tensor
    history_bias: Tensor

    def _make(self, factors: int, user_width: int) -> None:
        self._add("user_bias", (len(self.user_factors) if user_width else 0,), 0.0)
        self._add("item_bias", (self.n_items,), 0.0)
        self._add("history_bias", (self.n_items,), 0.0)
        self._add_layers("deep", (user_width + 2 * factors, *DEEP, 1))

    @property
    def mediator_width(self) -> int:
        """The width of the last hidden layer."""
        return DEEP[-1]

    def _forward(self, samples: Samples, training: bool) -> Encoded:
        user, item = self._embed(samples)
        history = _mean(samples, torch.cat([self.item_factors, self.history_bias.unsqueeze(1)], 1))
        pooled, clicked = history[:, :-1], history[:, -1]
        fields = [user, item, pooled] if user.shape[1] else [item, pooled]
        linear = self.item_bias[samples.items] + clicked
        if user.shape[1]:
            linear = linear + self.user_bias[samples.users]
        mediator = self._relu_layers("deep", len(DEEP), torch.cat(fields, 1))
        deep = F.linear(mediator, *self._layer("deep", len(DEEP))).squeeze(1)
        return Encoded(mediator, linear + debias_ext.fm_interaction(torch.stack(fields, 1)) + deep)


def _mean(samples: Samples, table: Tensor) -> Tensor:
    """The mean row of the table [I, d] over each history, [B, d]; 0 for an empty one."""
    places = torch.arange(samples.history.shape[1], device=table.device)
    clicks = samples.history[places < samples.lengths.unsqueeze(1)]
    return F.embedding_bag(clicks, table, samples.lengths.cumsum(0) - samples.lengths, mode="mean")
