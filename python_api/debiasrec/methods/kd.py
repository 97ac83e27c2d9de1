"""Distillation of one teacher of all users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from debiasrec.methods.clicks import ClickBatch, OnBase, cross_entropy
from debiasrec.methods.distillation import frozen
from debiasrec.methods.group_teachers import plain_twin
from debiasrec.methods.options import number
from debiasrec.methods.teachers import fitted_teacher

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.models.clicks import Encoded


@dataclass(kw_only=True, eq=False, repr=False)
class KD(OnBase):
    """BCE(y, z) + c tau^2 BCE(sigmoid(z_T / tau), z / tau), z_T of a plain model of the same base and all users.

    Args:
        label_strength: c.
        temperature: tau.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
    """

    name: ClassVar[str] = "kd"
    summary: ClassVar[str] = "distillation of a click model of all users into its like"
    source: ClassVar[str] = "Hinton et al., Distilling the Knowledge in a Neural Network, 2015"

    label_strength: float = number(1.0, least=0)
    temperature: float = number(1.0, above=0)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the teacher."""
        self._teacher = frozen(fitted_teacher(plain_twin(self), split, device=device), device)
        return {}

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """See the class."""
        tau = self.temperature
        with torch.no_grad():
            targets = torch.sigmoid(self._teacher.encode(batch.samples).logits / tau)  # type: ignore[attr-defined]
        soft = tau**2 * cross_entropy(encoded.logits / tau, targets)
        return cross_entropy(encoded.logits, batch.labels) + self.label_strength * soft
