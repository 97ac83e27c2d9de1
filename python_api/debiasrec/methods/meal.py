"""Distillation of one random teacher a step, with an adversary that tells student and teacher apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from debiasrec.methods.clicks import ClickBatch, cross_entropy
from debiasrec.methods.group_teachers import GroupTaught, table
from debiasrec.methods.options import flag, number

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.models.clicks import Encoded


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient changes its sign.

    Source: Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015, section 3.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


@dataclass(kw_only=True, eq=False, repr=False)
class MEAL(GroupTaught):
    """BCE(sigmoid(z_T), z) + c (BCE(1, D([m, z])) + BCE(0, D([m_T, z_T]))) of one teacher, drawn anew in each step.

    The discriminator D, three layers of halving widths, learns to tell the student's mediator m and logit z from the
    teacher's; the gradient that reaches the student through it is reversed.

    Args:
        adversary_strength: c.
        reverse: reverse that gradient; without it, as in the public program, the student helps the discriminator.

    Source: Shen, He and Xue, MEAL: Multi-Model Ensemble via Adversarial Learning, AAAI 2019, section 3; the last layer
        of D is linear here.
    """

    name: ClassVar[str] = "meal"
    summary: ClassVar[str] = "distillation of one random teacher of user groups a step, with an adversary"
    source: ClassVar[str] = "Shen et al., MEAL, AAAI 2019"

    adversary_strength: float = number(0.1, least=0)
    reverse: bool = flag(True)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the teachers; the discriminator."""
        super().prepare(split, device)
        width = self._models[0].mediator_width + 1
        widths = (width, max(width // 2, 1), max(width // 4, 1), 1)
        self._discriminator = {}
        for k, (fan_in, fan_out) in enumerate(pairwise(widths)):
            deviation = math.sqrt(2.0 / (fan_in + fan_out))
            self._discriminator[f"weight_{k}"] = table(self.seed, 1 + k, device, fan_out, fan_in, deviation=deviation)
            self._discriminator[f"bias_{k}"] = table(0, 0, device, fan_out)
        return self._discriminator

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """See the class."""
        drawn = int(batch.generator.integers(len(self._models)))
        with torch.no_grad():
            teacher = self._models[drawn].encode(batch.samples)
        similarity = cross_entropy(encoded.logits, torch.sigmoid(teacher.logits))
        student = torch.cat([encoded.mediator, encoded.logits.unsqueeze(1)], 1)
        told = self._judge(_Reversal.apply(student) if self.reverse else student)
        other = self._judge(torch.cat([teacher.mediator, teacher.logits.unsqueeze(1)], 1))
        ones, zeros = torch.ones_like(told), torch.zeros_like(other)
        return similarity + self.adversary_strength * (cross_entropy(told, ones) + cross_entropy(other, zeros))

    def _judge(self, features: Tensor) -> Tensor:
        """The logit of "this is the student", [B]."""
        for k in range(3):
            layer = (self._discriminator[f"weight_{k}"], self._discriminator[f"bias_{k}"])
            features = torch.nn.functional.linear(torch.relu(features) if k else features, *layer)
        return features.squeeze(1)
