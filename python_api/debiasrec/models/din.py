"""Deep interest network: attention of the target over the history."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

import debias_ext
from debiasrec.models.clicks import ClickModel, Encoded, Samples

ATTENTION = (64, 16)
PREDICTOR = (256, 128)
MOMENTUM = 0.1


class DIN(ClickModel):
    """z = MLP([e_u, e_i, h]), h = sum_t a_t k_t over the history, a_t = MLP([e_i, k_t, e_i - k_t, e_i * k_t]).

    The attention has hidden layers of 64 and 16 units with Dice and no softmax, the predictor of 256 and 128 with ReLU.
    The mediator is [e_u, h]. Outside training Dice takes running means of its statistics.

    Source: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018, section 4.3, eq (3), (9).
    """

    kind: ClassVar[str] = "din"

    def _make(self, factors: int, user_width: int) -> None:
        self._add_layers("attention", (4 * factors, *ATTENTION, 1))
        for k, width in enumerate(ATTENTION):
            self._add(f"alpha_{k}", (width,), 0.0)
            self._add(f"mean_{k}", (width,), 0.0, trained=False)
            self._add(f"variance_{k}", (width,), 0.0, trained=False)
            getattr(self, f"variance_{k}").fill_(1.0)
        self._add_layers("predictor", (user_width + 2 * factors, *PREDICTOR, 1))

    @property
    def mediator_width(self) -> int:
        """The widths of e_u and h."""
        return self.user_factors.shape[1] + self.item_factors.shape[1]

    def _forward(self, samples: Samples, training: bool) -> Encoded:
        user, item = self._embed(samples)
        history = F.embedding(samples.history, self.item_factors)
        hidden = range(len(ATTENTION))
        running = [(getattr(self, f"mean_{k}"), getattr(self, f"variance_{k}")) for k in hidden]
        pooled, used = debias_ext.attention_pooling(
            item,
            history,
            samples.lengths,
            [self._layer("attention", k) for k in range(len(ATTENTION) + 1)],
            alphas=[getattr(self, f"alpha_{k}") for k in hidden],
            statistics=None if training else running,
            return_statistics=True,
        )
        if training:
            for old, new in zip(running, used, strict=True):
                for table, value in zip(old, new, strict=True):
                    table.lerp_(value.to(table.dtype), MOMENTUM)
        mediator = torch.cat([user, pooled], 1)
        top = self._relu_layers("predictor", len(PREDICTOR), torch.cat([user, item, pooled], 1))
        return Encoded(mediator, F.linear(top, *self._layer("predictor", len(PREDICTOR))).squeeze(1))
