"""Distillation of the labels of a model of the uniform ratings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.base import Method
from debiasrec.methods.distillation import frozen, start_from
from debiasrec.methods.options import choice, number, teacher
from debiasrec.methods.trained import Trained
from debiasrec.models import Model, sampled_pairs
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class KDLabel(Trained):
    """A student of the biased ratings that also learns what a teacher of the uniform ratings would say.

    "refine" adds the teacher's score z, rescaled to [0, 1], to the targets: sum over rated pairs of (s - t - c m(z))^2
    with m(z) = (z - min) / (max - min). "bridge" pulls the student to the teacher on pairs drawn from all of them, as
    many as the batch has rated ones: mean over rated pairs of (s - t)^2 + c mean over those pairs of (s - z)^2.

    Args:
        debiased_teacher: the teacher: a method's name, fitted with its preset and this seed, or a method.
        initial: where the student starts, alike; a matrix factorisation with as many factors.
        mode: "refine" or "bridge".
        strength: c above.
        norm: where refine takes the minimum and the maximum: "global", over all rated pairs, or "batch", as the public
            programs do; a target then depends on the other pairs of its batch.

    Attributes (after fit):
        debiased_teacher_, initial_: the fitted methods.

    Source: Liu et al. 2020, label-based distillation, the bridge and the refine strategy; Chen et al., AutoDebias,
        SIGIR 2021, take refine as this baseline.
    """

    name: ClassVar[str] = "kd_label"
    needs_uniform: ClassVar[bool] = True
    summary: ClassVar[str] = "distillation of the labels of a teacher of the uniform ratings"
    source: ClassVar[str] = "Liu et al., A General Knowledge Distillation Framework (KDCRec), SIGIR 2020"

    debiased_teacher: str | Method = teacher("mf_uniform")
    initial: str | Method = teacher("mf")
    mode: str = choice("refine", "refine", "bridge")
    strength: float = number(1.0, least=0)
    norm: str = choice("global", "global", "batch")

    def check_teacher(self, option: str, teacher: Method) -> None:
        """Any method may teach; the start has to be a matrix factorisation."""
        if option == "initial":
            super().check_teacher(option, teacher)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Refine adds the teacher's labels to the targets."""
        if self.mode == "bridge":
            return {}
        labels = self.debiased_teacher_.predict(rows.users, rows.items)
        if self.norm == "batch":
            return {"labels": labels}
        return {"targets": self.encode(rows.ratings) + self.strength * _unit(torch.from_numpy(labels)).numpy()}

    def _base_model(self, device: str | torch.device) -> Model:
        self._teacher = frozen(self.debiased_teacher_, device)
        model = self._model(self.factors, 0, device)
        start_from(model, self.initial_, self)
        return model

    def one_pass(self) -> bool:
        """With targets that stay the same."""
        return self.mode == "refine" and self.norm == "global"

    def step(self, batch: Batch) -> Tensor:
        """A fused step on the refined targets, or on the rated pairs and the bridge."""
        targets, weights = batch["targets"], None
        scale = self._l2_scale(len(batch), 1.0)
        if self.mode == "bridge":
            batch, targets, weights = self._bridged(batch)
        elif self.norm == "batch":
            targets = targets + self.strength * _unit(batch["labels"])
        return self.learners_["rating"].step(batch, targets, weights, scale=scale)

    def _bridged(self, batch: Batch) -> tuple[Batch, Tensor, Tensor]:
        """The rated pairs, and as many drawn from all pairs with the teacher's scores as targets."""
        drawn = sampled_pairs(self.n_users_, self.n_items_, len(batch), batch.generator, batch.users.device)
        targets = torch.cat([batch["targets"], self._teacher.score(*drawn)])
        # Two means of B pairs are one mean of 2 B pairs with weights of 2.
        share = 2.0 if self.reduction == "mean" else 1.0
        weights = torch.full_like(targets, share)
        weights[len(batch) :] *= self.strength
        users, items = torch.cat([batch.users, drawn[0]]), torch.cat([batch.items, drawn[1]])
        return replace(batch, users=users, items=items), targets, weights

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._teacher


def _unit(scores: Tensor) -> Tensor:
    """Scores rescaled to [0, 1]; 0 where all are equal."""
    low, high = scores.min(), scores.max()
    return (scores - low) / torch.where(high > low, high - low, 1.0)
