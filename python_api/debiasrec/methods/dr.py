"""Doubly robust learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import debias_ext
from debias_ext import ConstantTarget, DRTarget, FactorTables
from debiasrec.methods.ips import IPS
from debiasrec.methods.options import flag, number, whole
from debiasrec.methods.trained import Learner
from debiasrec.models import sampled_pairs
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class DR(IPS):
    """Imputed errors on all pairs, corrected by propensity-weighted errors on the rated ones.

    With a pseudo label p(u, i) for every pair,

        L = sum over all pairs of (s - p)^2  +  sum over rated pairs of ((s - t)^2 - (s - p)^2) / q.

    Joint learning: the imputation model g predicts the residual t - s, the pseudo label is stop(s) + g, and the two
    models take turns on every batch. Two stages: g is fitted to the targets first, then frozen, and is itself the
    pseudo label. Either way g minimises the weighted squared error on the rated pairs.

    The sum over all pairs of a block is a product of small Gram matrices (no pair is enumerated); flat batches estimate
    it from as many uniformly sampled pairs as they have rated ones.

    Args:
        imputation_factors: length of the factor vectors of the imputation model.
        imputation_lr, imputation_l2: its learning rate and L2; None takes those of the rating model.
        joint: joint learning, else two stages.
        imputation_epochs: epochs of the first stage (two stages only).

    Source: Wang et al., Doubly Robust Joint Learning, ICML 2019, eq (4) and (6)-(8), in residual form.
    """

    name: ClassVar[str] = "dr"
    summary: ClassVar[str] = "doubly robust learning with an imputation model, joint or in two stages"
    source: ClassVar[str] = "Wang et al., Doubly Robust Joint Learning, ICML 2019"
    needs_empty_blocks: ClassVar[bool] = True

    imputation_factors: int = whole(10)
    imputation_lr: float | None = number(None, above=0, none=True)
    imputation_l2: float | None = number(None, least=0, none=True)
    joint: bool = flag(True)
    imputation_epochs: int = whole(30, least=0)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model and the imputation model."""
        offset = 0.0 if self.joint else self.offset_
        self.imputation_ = self._model(self.imputation_factors, 1, device, offset)
        lr = self.lr if self.imputation_lr is None else self.imputation_lr
        l2 = self.l2 if self.imputation_l2 is None else self.imputation_l2
        return {
            "rating": self._loss_learner(self.model_, self.lr, self.l2),
            "imputation": self._row_learner(self.imputation_, lr, l2),
        }

    def one_pass(self) -> bool:
        """Two models take turns."""
        return False

    def warmup_epochs(self) -> int:
        """The first stage."""
        return 0 if self.joint else self.imputation_epochs

    def begin_epoch(self, epoch: int) -> None:
        """Decide which models train."""
        self._first_stage = epoch <= self.warmup_epochs()

    def step(self, batch: Batch) -> Tensor:
        """The imputation model's step, then the rating model's."""
        if self._first_stage:
            return self._imputation_step(batch, batch["targets"])
        if self.joint and len(batch):
            with torch.no_grad():
                scores = self.model_.score(batch.users, batch.items)
            self._imputation_step(batch, batch["targets"] - scores)
        loss = self.loss(batch)
        self.learners_["rating"].update(loss, batch, scale=self.batch_l2_scale(batch))
        return loss.detach()

    def _imputation_step(self, batch: Batch, residuals: Tensor) -> Tensor:
        if not len(batch):
            return residuals.new_zeros(())
        scale = self._l2_scale(len(batch), self.mean_weight_)
        return self.learners_["imputation"].step(batch, residuals, batch["weights"], scale=scale)

    def loss(self, batch: Batch) -> Tensor:
        """The doubly robust loss of the rating model."""
        if batch.block is not None:
            total = self._block_loss(batch, *batch.block)
        else:
            total = self._sampled_loss(batch)
        return total / self._pairs(batch) if self.reduction == "mean" else total

    def _pairs(self, batch: Batch) -> float:
        """How many pairs, rated or not, the batch stands for."""
        return self._expected_rated(batch) / self._density()

    def _block_loss(self, batch: Batch, users: Tensor, items: Tensor) -> Tensor:
        """All pairs of the block, through Gram matrices, and the correction on the rated ones."""
        rows, columns = batch.places(self.n_users_, self.n_items_)
        rating = self.model_.block(users, items)
        with torch.no_grad():
            imputation = self.imputation_.block(users, items)
        if self.joint:
            rated = (rows, columns, batch["targets"], batch["weights"])
            return debias_ext.block_loss(**rating._asdict(), rated=rated, unobserved=DRTarget(imputation))
        # s - g is a factor model itself: its square over all pairs, less the rated ones over q, and (s - t)^2 / q.
        rated = (rows, columns, torch.zeros_like(batch["targets"]), -batch["weights"])
        gap = _difference(rating, imputation)._asdict()
        return debias_ext.block_loss(**gap, rated=rated, unobserved=ConstantTarget(0.0)) + self._rated_loss(batch)

    def _sampled_loss(self, batch: Batch) -> Tensor:
        pairs = sampled_pairs(self.n_users_, self.n_items_, len(batch), batch.generator, batch.users.device)
        every = self._pairs(batch) * self.model_.loss(*pairs, self._pseudo_targets(*pairs), None, "mean")
        return every + self._correction(batch)

    def _pseudo_targets(self, users: Tensor, items: Tensor) -> Tensor:
        with torch.no_grad():
            imputed = self.imputation_.score(users, items)
            return self.model_.score(users, items) + imputed if self.joint else imputed

    def _correction(self, batch: Batch) -> Tensor:
        """sum over the rated pairs of ((s - t)^2 - (s - p)^2) / q."""
        users, items = batch.users, batch.items
        imputed = self.model_.loss(users, items, self._pseudo_targets(users, items), batch["weights"], "sum")
        return self._rated_loss(batch) - imputed

    def _rated_loss(self, batch: Batch) -> Tensor:
        return self.model_.loss(batch.users, batch.items, batch["targets"], batch["weights"], "sum")


@dataclass(kw_only=True, eq=False, repr=False)
class DRTwoStage(DR):
    """Doubly robust learning with an imputation model that is fitted first and then frozen: `dr` with joint=False."""

    name: ClassVar[str] = "dr_two_stage"
    summary: ClassVar[str] = "doubly robust learning, the imputation model fitted first and then frozen"
    source: ClassVar[str] = "Wang et al., Doubly Robust Joint Learning, ICML 2019, eq (4)"

    joint: bool = flag(False)


def _difference(first: FactorTables, second: FactorTables) -> FactorTables:
    """The factor model whose scores are those of the first less those of the second."""
    return FactorTables(
        torch.cat([first.user_factors, second.user_factors], 1),
        torch.cat([first.item_factors, -second.item_factors], 1),
        first.user_bias - second.user_bias,  # type: ignore[operator]
        first.item_bias - second.item_bias,  # type: ignore[operator]
    )
