"""Doubly robust learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.ips import IPS
from debiasrec.models import all_pairs_inner, sampled_pairs
from debiasrec.training.learner import Learner
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

    imputation_factors: int = 10
    imputation_lr: float | None = None
    imputation_l2: float | None = None
    joint: bool = True
    imputation_epochs: int = 30

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model and the imputation model."""
        offset = 0.0 if self.joint else self.offset_
        self.imputation_ = self._model(self.imputation_factors, 1, device, offset)
        lr = self.lr if self.imputation_lr is None else self.imputation_lr
        l2 = self.l2 if self.imputation_l2 is None else self.imputation_l2
        return {**super().learners(device), "imputation": self._learner(self.imputation_, lr, l2)}

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
        self.learners_["rating"].update(loss, batch, scale=self._rating_l2_scale(batch))
        return loss.detach()

    def _imputation_step(self, batch: Batch, residuals: Tensor) -> Tensor:
        if not len(batch):
            return residuals.new_zeros(())
        imputed = self.imputation_.score(batch.users, batch.items)
        loss = debias_ext.ips_loss(imputed, residuals, batch["propensities"], reduction=self.reduction)
        self.learners_["imputation"].update(loss, batch, scale=self._l2_scale(len(batch), self.mean_weight_))
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The doubly robust loss of the rating model."""
        total = self._imputed_part(batch)
        if len(batch):
            scores, pseudo = self._scores_and_pseudo(batch.users, batch.items)
            observed = torch.ones_like(scores, dtype=torch.bool)
            rated = debias_ext.dr_loss(
                scores, batch["targets"], pseudo, batch["propensities"], observed, reduction="sum"
            )
            # The sum over all pairs holds the rated ones already.
            total = total + (rated - debias_ext.pointwise_loss(scores, pseudo, loss="mse", reduction="sum"))
        return total / self._share(batch) if self.reduction == "mean" else total

    def _share(self, batch: Batch) -> int:
        """How many pairs, rated or not, the batch stands for."""
        if batch.block is None:
            return max(1, self.n_users_ * self.n_items_ * len(batch) // self.n_rows_)
        return len(batch.block[0]) * len(batch.block[1])

    def _rating_l2_scale(self, batch: Batch) -> float:
        # The mean loss is a mean over all pairs: weight 1, and as many rated pairs as such a share holds on average.
        rated = self._share(batch) * self.n_rows_ / (self.n_users_ * self.n_items_)
        return self._l2_scale(rated, 1.0)

    def _scores_and_pseudo(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.model_.score(users, items)
        with torch.no_grad():
            imputed = self.imputation_.score(users, items)
        return scores, (scores.detach() + imputed if self.joint else imputed)

    def _imputed_part(self, batch: Batch) -> Tensor:
        """The sum of (s - p)^2 over the pairs that the batch stands for."""
        if batch.block is not None:
            return self._block_sum(*batch.block)
        pairs = sampled_pairs(self.n_users_, self.n_items_, len(batch), batch.generator, batch.users.device)
        scores, pseudo = self._scores_and_pseudo(*pairs)
        return self._share(batch) * debias_ext.pointwise_loss(scores, pseudo, loss="mse", reduction="mean")

    def _block_sum(self, users: Tensor, items: Tensor) -> Tensor:
        rating = (self.model_.user_side(users), self.model_.item_side(items))
        with torch.no_grad():
            imputed = (self.imputation_.user_side(users), self.imputation_.item_side(items))
            imputed_square = all_pairs_inner(imputed, imputed)
        cross = all_pairs_inner(imputed, rating)
        if not self.joint:
            return all_pairs_inner(rating, rating) - 2.0 * cross + imputed_square
        # Value g^2, slope -2g.
        return imputed_square - 2.0 * (cross - cross.detach())
