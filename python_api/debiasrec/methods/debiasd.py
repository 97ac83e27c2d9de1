"""Distillation that trusts its teachers as far as each class lets them be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.clicks import ClickBatch, cross_entropy
from debiasrec.methods.group_teachers import GroupTaught

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.models.clicks import Encoded


@dataclass(kw_only=True, eq=False, repr=False)
class DebiasD(GroupTaught):
    """BCE((1 - a_y) y + a_y p_T, z), with p_T = sum_k w_ky p_k over the teachers of user groups.

    For each class y, w_ky is proportional to the mean margin of teacher k on the validation rows of that class (all
    alike where no margin is positive), and a_y is the mean margin of p_T there; margins are 2 p - 1 for clicks and
    1 - 2 p for others, negative means count 0. Without validation rows the training clicks stand for them.

    Source: Lukasik et al., Teacher's Pet: Understanding and Mitigating Biases in Distillation, TMLR 2022, section 5;
        the weights of several teachers follow Zhang et al., CausalD, TKDE 2023, section 4.1.3.
    """

    name: ClassVar[str] = "debiasd"
    summary: ClassVar[str] = "distillation of teachers of user groups, mixed by their margins in each class"
    source: ClassVar[str] = "Lukasik et al., Teacher's Pet, TMLR 2022"

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the teachers; their weights and how far to trust them, by class."""
        super().prepare(split, device)
        rows = split.train if split.biased_validation is None else split.biased_validation
        probabilities = np.stack([_probabilities(teacher, rows) for teacher in self.teachers_])
        trust, weights = class_mixture(probabilities, split.dataset.positives(rows.ratings))
        self._trust, self._mixture = (
            torch.tensor(part, dtype=torch.float32, device=device) for part in (trust, weights)
        )
        return {}

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """See the class."""
        y, kind = batch.labels, batch.labels.long()
        taught = (torch.sigmoid(self.teacher_logits(batch)) * self._mixture[kind]).sum(1)
        trust = self._trust[kind]
        return cross_entropy(encoded.logits, (1 - trust) * y + trust * taught)


def class_mixture(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a_y and w_ky of `DebiasD`.

    Args:
        probabilities: float [K, n], P(click) of each teacher.
        labels: bool [n].

    Returns:
        [2] and [2, K]: by class, 0 first. A class without rows gets a_y = 0 and equal weights.
    """
    trust, weights = np.zeros(2), np.full((2, len(probabilities)), 1.0 / len(probabilities))
    for kind in (0, 1):
        rows = labels == kind
        if not rows.any():
            continue
        margins = (2 * kind - 1) * (2 * probabilities[:, rows] - 1)
        own = margins.mean(1).clip(min=0)
        if own.sum() > 0:
            weights[kind] = own / own.sum()
        trust[kind] = max((weights[kind] @ margins).mean(), 0.0)
    return trust, weights


def _probabilities(teacher: GroupTaught, rows: Interactions) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-teacher.predict_validation(rows.users, rows.items).astype(np.float64)))
