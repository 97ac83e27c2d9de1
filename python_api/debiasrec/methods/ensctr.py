"""Distillation of teachers that a gate weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from debiasrec.methods.clicks import ClickBatch, cross_entropy
from debiasrec.methods.group_teachers import GroupTaught, table
from debiasrec.methods.options import number

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.models.clicks import Encoded


@dataclass(kw_only=True, eq=False, repr=False)
class EnsCTR(GroupTaught):
    """BCE(y, z) + c BCE(p_T, z) + BCE(y, p_T), p_T = sum_k w_k sigmoid(z_k), w = softmax(W [z_1 .. z_K] + b).

    z_k are the logits of the teachers of user groups. The second term holds p_T fixed; the third trains W and b.

    Args:
        label_strength: c.

    Source: Zhu et al., Ensembled CTR Prediction via Knowledge Distillation, CIKM 2020, section 3, with a gate over
        frozen teachers.
    """

    name: ClassVar[str] = "ensctr"
    summary: ClassVar[str] = "distillation of teachers of user groups, weighed by a gate"
    source: ClassVar[str] = "Zhu et al., Ensembled CTR Prediction, CIKM 2020"

    label_strength: float = number(1.0, least=0)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the teachers; the gate starts as their mean."""
        super().prepare(split, device)
        square = (self.groups, self.groups)
        self._gate = {"gate_weight": table(0, 0, device, *square), "gate_bias": table(0, 0, device, self.groups)}
        return self._gate

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """See the class."""
        mixed = gated(self.teacher_logits(batch), self._gate["gate_weight"], self._gate["gate_bias"])
        gate = cross_entropy(mixed, batch.labels)
        taught = cross_entropy(encoded.logits, torch.sigmoid(mixed.detach()))
        return cross_entropy(encoded.logits, batch.labels) + self.label_strength * taught + gate


def gated(logits: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The logit of sum_k w_k sigmoid(z_k), [B]: log sum_k w_k sigmoid(z_k) - log sum_k w_k sigmoid(-z_k).

    Args:
        logits: z, [B, K].
        weight, bias: of the gate, [K, K] and [K].
    """
    log_weights = torch.log_softmax(torch.nn.functional.linear(logits, weight, bias), 1)
    log_sigmoid = torch.nn.functional.logsigmoid
    return (log_weights + log_sigmoid(logits)).logsumexp(1) - (log_weights + log_sigmoid(-logits)).logsumexp(1)
