"""Learning to debias, doubly robust."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.ltd import MFIPSLTD
from debiasrec.methods.neural import Neural
from debiasrec.methods.options import choice, number, whole
from debiasrec.methods.trained import Learner
from debiasrec.models import UnratedPairs
from debiasrec.training.loader import Batch
from debiasrec.training.loop import TrainingRun

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class MFDRLTD(MFIPSLTD):
    """Doubly robust learning whose propensities q minimise the error on uniform ratings after the next step.

    With an imputation g of the residual t - s and the pseudo label p = stop(s) + g, the lower loss is

        sum over rated pairs of (s - p)^2 + ((s - t)^2 - (s - p)^2) / q  +  c * sum over unrated ones of (s - p)^2,

    q = 1 for uniform pairs. On every batch first g takes a step on sum of (g - (t - s))^2 / q, then q and s as in
    `MFIPSLTD`. A batch has as many unrated pairs as rated ones.

    Args:
        imputation_factors: length of the factor vectors of the imputation model.
        imputation_lr, imputation_l2: its learning rate and L2; None takes those of the rating model.
        missing_scale: c: "batch" is 1, as in the paper; "unbiased" is the number of unrated pairs over that of the
            rated ones, with which the sums of batches are those over all pairs.

    Source: Wang et al., LTD, WSDM 2021, eq (11), (12), (16) and algorithm 2. In print the residual has the other sign,
        with which s + g is no label.
    """

    name: ClassVar[str] = "mf_dr_ltd"
    summary: ClassVar[str] = "doubly robust learning with propensities that uniform ratings teach"

    imputation_factors: int = whole(10)
    imputation_lr: float | None = number(None, above=0, none=True)
    imputation_l2: float | None = number(None, least=0, none=True)
    missing_scale: str = choice("batch", "batch", "unbiased")

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """As for IPS; and where unrated pairs are drawn from."""
        self._unrated = UnratedPairs(rows.users, rows.items, self.n_users_, self.n_items_, self.seed)
        return super().prepare(split, rows)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model, the propensity model and the imputation model."""
        self.imputation_ = self._model(self.imputation_factors, 1, device)
        lr = self.lr if self.imputation_lr is None else self.imputation_lr
        l2 = self.l2 if self.imputation_l2 is None else self.imputation_l2
        return {**super().learners(device), "imputation": self._row_learner(self.imputation_, lr, l2)}

    def begin_epoch(self, epoch: int) -> None:
        """The unrated pairs of an epoch depend on the seed and the epoch alone."""
        self._unrated.begin_epoch(epoch)

    def step(self, batch: Batch) -> Tensor:
        """The imputation model's step, the propensity model's, and the rating model's."""
        with torch.no_grad():
            residuals = batch["targets"] - self.model_.score(batch.users, batch.items)
        scale = self._l2_scale(len(batch), self.mean_weight_)
        self.learners_["imputation"].step(batch, residuals, self.weights(batch), scale=scale)
        return super().step(self._imputed(batch))

    @torch.no_grad()
    def _imputed(self, batch: Batch) -> Batch:
        """The batch with the imputations of its pairs, and with unrated pairs and theirs."""
        users, items = self._unrated.draw(len(batch), batch.users.device)
        columns = {
            "imputations": self.imputation_.score(batch.users, batch.items),
            "unrated_users": users,
            "unrated_items": items,
            "unrated_imputations": self.imputation_.score(users, items),
        }
        return replace(batch, columns={**batch.columns, **columns})

    def batch_l2_scale(self, batch: Batch) -> float:
        """Beside a mean the rated pairs count 1, whatever q is, and the unrated ones c."""
        return self._l2_scale(len(batch), 1.0 + self._missing_weight())

    def _missing_weight(self) -> float:
        return 1.0 if self.missing_scale == "batch" else len(self._unrated) / self.n_rows_

    def lower(self, batch: Batch) -> dict[str, Any]:
        """The doubly robust loss of the rated pairs, and the imputed errors of the unrated ones."""
        missing = {name: batch[f"unrated_{name}"] for name in ("users", "items", "imputations")}
        scale = {"scale": self._missing_weight()}
        return {**super().lower(batch), "imputations": batch["imputations"], "missing": {**missing, **scale}}

    def lower_step(self, batch: Batch) -> Tensor:
        """One fused step on rated and unrated pairs.

        With w = 1/q and c = p + w (t - p):  (1 - w) (s - p)^2 + w (s - t)^2 = (s - c)^2 + w (1 - w) (t - p)^2.
        """
        users = torch.cat([batch.users, batch["unrated_users"]])
        items = torch.cat([batch.items, batch["unrated_items"]])
        weights, rated = self.weights(batch), len(batch)
        with torch.no_grad():
            pseudo = self.model_.score(users, items) + torch.cat([batch["imputations"], batch["unrated_imputations"]])
        gap = batch["targets"] - pseudo[:rated]
        targets = torch.cat([pseudo[:rated] + weights * gap, pseudo[rated:]])
        share = 1.0 if self.reduction == "sum" else 2.0  # the mean is over twice as many pairs
        counts = torch.cat([torch.full_like(weights, share), torch.full_like(weights, share * self._missing_weight())])
        joined = replace(batch, users=users, items=items, columns={})
        scale = self.batch_l2_scale(batch)
        loss = self.learners_["rating"].step(joined, targets, counts, scale=scale)
        rest = weights * (1.0 - weights) * gap.square()
        return loss + (rest.sum() if self.reduction == "sum" else rest.mean())

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._unrated


@dataclass(kw_only=True, eq=False, repr=False)
class NFDRLTD(Neural, MFDRLTD):
    """`MFDRLTD` with neural factorisation machines, one that predicts and one that imputes."""

    name: ClassVar[str] = "nf_dr_ltd"
    summary: ClassVar[str] = "doubly robust learning of an NFM with propensities that uniform ratings teach"
