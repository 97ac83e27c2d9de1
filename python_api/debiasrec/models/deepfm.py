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
        user, item, history = self._embed(samples)
        pooled = _mean(history, samples.lengths)
        fields = [user, item, pooled] if user.shape[1] else [item, pooled]
        clicked = F.embedding(samples.history, self.history_bias.unsqueeze(1))
        linear = self.item_bias[samples.items] + _mean(clicked, samples.lengths).squeeze(1)
        if user.shape[1]:
            linear = linear + self.user_bias[samples.users]
        mediator = self._relu_layers("deep", len(DEEP), torch.cat(fields, 1))
        deep = F.linear(mediator, *self._layer("deep", len(DEEP))).squeeze(1)
        return Encoded(mediator, linear + debias_ext.fm_interaction(torch.stack(fields, 1)) + deep)


def _mean(history: Tensor, lengths: Tensor) -> Tensor:
    """The mean of each history [B, T, d] over its length; 0 for an empty one."""
    valid = torch.arange(history.shape[1], device=lengths.device) < lengths.unsqueeze(1)
    total = torch.where(valid.unsqueeze(2), history, 0).sum(1)
    return total / lengths.clamp(min=1).unsqueeze(1)
