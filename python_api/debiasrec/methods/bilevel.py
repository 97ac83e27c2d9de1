"""Losses whose weights, targets or propensities are taught by uniform ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from debiasrec.methods.mf import uniform_rows
from debiasrec.methods.trained import Trained
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader
from debiasrec.training.loop import TrainingRun

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class BiLevel(Trained):
    """Two problems, a step of each on every batch.

    The lower one trains the predicting model theta on a loss of the biased ratings that has parameters phi of its own:
    weights, propensities, imputed values. The upper one moves phi so that the loss of the uniform ratings falls after
    one assumed step of the lower one:

        theta' = theta - lr' * d lower(theta, phi) / d theta,     phi <- phi - optimiser(d upper(theta') / d phi).

    Then the lower loss takes its step in earnest, from theta and with the new phi. The hypergradients come from
    `debias_ext.lookahead_loss`, in closed form: nothing is differentiated twice.

    A method states the loss of the assumed step (`lower`), returns a `TableLearner` for each model in phi from
    `learners`, and states the real step: the `weights` of the rated pairs, or a `lower_step`.
    """

    needs_uniform: ClassVar[bool] = True

    def lower(self, batch: Batch) -> dict[str, Any]:
        """The loss of the assumed step as `debias_ext.lookahead_loss` takes it, differentiable in phi.

        Scores there have no offset, so targets are to be given less `offset_`.
        """
        raise NotImplementedError

    def upper_rows(self, split: Split) -> Interactions:
        """The rows of the upper problem; by default the uniform training ratings."""
        return uniform_rows(split, self.name)

    def upper(self, batch: Batch) -> dict[str, Any]:
        """The loss after the assumed step; by default the summed squared errors of all upper rows."""
        return {**self.upper_, "reduction": "sum"}

    def upper_loss(self, batch: Batch) -> Tensor:
        """What the upper problem minimises, a scalar, differentiable in phi."""
        return self.after_step(batch, self.lower(batch))

    def after_step(self, batch: Batch, lower: dict[str, Any], **options: Any) -> Tensor:
        """The upper loss after the assumed step; further options go to the model."""
        l2 = self.l2 * self.batch_l2_scale(batch)
        return self.model_.after_step(lower, self.upper(batch), lr=self.assumed_lr(), l2=l2, **options)

    def assumed_lr(self) -> float:
        """The learning rate of the assumed step; by default that of the real one."""
        return self.lr

    def upper_learners(self) -> list[TableLearner]:
        """The learners of phi that take part in this epoch; by default every one but "rating"."""
        return [learner for name, learner in self.learners_.items() if name != "rating"]

    def step(self, batch: Batch) -> Tensor:
        """The upper problem's step, then the lower one's; returns the lower loss, detached."""
        self.upper_step(batch)
        return self.lower_step(batch)

    def upper_step(self, batch: Batch) -> None:
        """One step of every upper learner; nothing when there is none."""
        learners = self.upper_learners()
        if not learners:
            return
        tables = [table for learner in learners for table in learner.tables.values()]
        gradients = iter(torch.autograd.grad(self.upper_loss(batch), tables))
        for learner in learners:
            learner.step([next(gradients) for _ in learner.tables])

    def lower_step(self, batch: Batch) -> Tensor:
        """The real step of the predicting model; by default a fused one with the `weights` of the rated pairs."""
        return super().step(batch)

    def one_pass(self) -> bool:
        """Two problems take turns."""
        return False

    def _start(self, split: Split, device: str | torch.device) -> FlatLoader | BlockLoader:
        rows = self.upper_rows(split)
        loader = super()._start(split, device)
        arrays = {"users": rows.users, "items": rows.items, "targets": self.encode(rows.ratings)}
        self.upper_ = {name: torch.tensor(array, device=device) for name, array in arrays.items()}
        self.upper_["targets"] -= self.offset_
        return loader

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self.upper_
