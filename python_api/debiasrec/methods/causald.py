"""CausalD: front-door distillation of teachers of user groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.clicks import ClickBatch, cross_entropy
from debiasrec.methods.group_teachers import GroupTaught, group_splits, table
from debiasrec.methods.options import choice, flag, number, whole
from debiasrec.models import ClickModel

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.models.clicks import Encoded

_FLOOR = 1e-6  # of probabilities within a logarithm: a mean of sigmoids has no logit


@dataclass(kw_only=True, eq=False, repr=False)
class CausalD(GroupTaught):
    """BCE(y, z) + c_F (BCE(o, z) + BCE(y, o)) + c_B mean |m' - m|^2.

    m and z are mediator and logit of the student, m_k the mediator of teacher k of sample i, e the embedding of its
    item. The label of front-door adjustment is

        o_i = sum_k a_ki mean_j sigmoid(psi([m'_j, m_ki, e_i])),  a_ki = softmax_k((W1 m_ki) . (W2 m_i)),

    psi with one hidden layer. Its first term trains the student, o held fixed; its second trains W1, W2 and psi alone.
    m' is the back-door feature sum_k P(group k) m_k ("causal"), or the mean over the teachers ("vanilla").

    Args:
        label_strength: c_F; 0 leaves the labels out.
        feature_strength: c_B; 0 leaves the features out.
        feature: "causal" or "vanilla".
        hidden: units of psi, and length of W1 m and W2 m.
        counterfactuals: samples j, drawn from the batch with replacement in each step; 0 for all of them.
        exclude_self: leave i out of its own mean.

    Source: Zhang et al., "Causal Distillation for Alleviating Performance Heterogeneity in Recommender Systems", TKDE
        2023, eq (9)-(18). Here means over the batch stand in the place of sums, so that the coefficients do not depend
        on its size, and eq (15) has the sigmoid that eq (16) needs.
    """

    name: ClassVar[str] = "causald"
    summary: ClassVar[str] = "front-door distillation of labels and features of teachers of user groups"
    source: ClassVar[str] = "Zhang et al., CausalD, TKDE 2023"

    label_strength: float = number(0.1, least=0)
    feature_strength: float = number(0.1, least=0)
    feature: str = choice("causal", "causal", "vanilla")
    hidden: int = whole(16)
    counterfactuals: int = whole(256, least=0)
    exclude_self: bool = flag(False)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the teachers; W1, W2 and psi."""
        super().prepare(split, device)
        sizes = _group_sizes(self, split)
        causal = sizes / sizes.sum() if self.feature == "causal" else np.full(self.groups, 1 / self.groups)
        self._shares = torch.tensor(causal, dtype=torch.float32, device=device)
        model: ClickModel = self._models[0]
        width, units = model.mediator_width, self.hidden
        shapes = {
            "attention_teacher": (units, width),
            "attention_student": (units, width),
            "psi_context": (units, width),
            "psi_mediator": (units, width),
            "psi_item": (units, self.factors),
            "psi_bias": (units,),
            "psi_output": (units,),
            "psi_output_bias": (1,),
        }
        self._head = {
            name: table(self.seed, 1 + k, device, *shape, deviation=0.0 if "bias" in name else _glorot(shape))
            for k, (name, shape) in enumerate(shapes.items())
        }
        return self._head

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """See the class."""
        total = cross_entropy(encoded.logits, batch.labels)
        mediators = torch.stack([teacher.mediator for teacher in self.taught(batch)], 1)
        adjusted = torch.einsum("k,bkm->bm", self._shares, mediators)
        if self.feature_strength:
            total = total + self.feature_strength * (adjusted - encoded.mediator).square().sum(1).mean()
        if self.label_strength:
            items = self.model_.item_factors.detach()[batch.samples.items]
            labels = self._labels(batch, mediators, adjusted, encoded.mediator.detach(), items)
            consistency = cross_entropy(encoded.logits, labels.detach()) + _cross_entropy_of(labels, batch.labels)
            total = total + self.label_strength * consistency
        return total

    def _labels(self, batch: ClickBatch, mediators: Tensor, adjusted: Tensor, student: Tensor, items: Tensor) -> Tensor:
        """o of every sample, [B]; psi's first layer is applied to each of its inputs once.

        Args:
            mediators: m_k, [B, K, m].
            adjusted: m', [B, m].
            student: m, [B, m].
            items: e, [B, d].
        """
        head, chosen = self._head, None
        if self.counterfactuals and self.counterfactuals < len(adjusted):
            drawn = batch.generator.integers(len(adjusted), size=self.counterfactuals)
            chosen = torch.from_numpy(drawn).to(adjusted.device)
            adjusted = adjusted[chosen]
        query = student @ head["attention_student"].T
        attention = torch.einsum("bkh,bh->bk", mediators @ head["attention_teacher"].T, query)
        own = (items @ head["psi_item"].T + head["psi_bias"]).unsqueeze(1)
        return debias_ext.frontdoor_aggregate(
            adjusted @ head["psi_context"].T,
            mediators @ head["psi_mediator"].T + own,
            None,
            (head["psi_output"], head["psi_output_bias"]),
            attention_logits=attention,
            exclude_self=self.exclude_self,
            context_index=chosen if self.exclude_self else None,
        )


def _group_sizes(method: GroupTaught, split: Split) -> np.ndarray:
    """Training rows of each teacher's group."""
    seed = method.seed if method.grouping == "random" else 0
    return np.array([len(part.train) for part in group_splits(split, method.grouping, method.groups, seed)])


def _glorot(shape: tuple[int, ...]) -> float:
    return math.sqrt(2.0 / (shape[-1] + (shape[0] if len(shape) > 1 else 1)))


def _cross_entropy_of(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean of -y log o - (1 - y) log(1 - o)."""
    inside = probabilities.clamp(_FLOOR, 1 - _FLOOR)
    return -(labels * inside.log() + (1 - labels) * torch.log1p(-inside)).mean()
