"""What the methods share that learn relevance and exposure from clicks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.data.validation import as_indices
from debiasrec.methods.implicit import Implicit
from debiasrec.methods.options import flag, number
from debiasrec.methods.task import prefixed
from debiasrec.methods.trained import Learner
from debiasrec.models.exposure import MixedExposure
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class TwoModels(Implicit):
    """A rating model, and an exposure model with parameters phi that learns beside it.

    Args:
        exposure_lr, exposure_decay: learning rate and weight decay of phi (the decay is a part of the gradient).

    Attributes (after fit):
        exposure_: the exposure model of the best epoch.
    """

    exposure_lr: float = number(0.01, above=0)
    exposure_decay: float = number(0.0, least=0)

    def pair_exposures(self, users: Tensor, items: Tensor) -> Tensor:
        """x of pairs, [B], by the models as they are."""
        raise NotImplementedError

    def exposure_learner(self, tables: dict[str, Tensor]) -> TableLearner:
        """The learner of phi."""
        rate, decay = self.exposure_lr, self.exposure_decay
        return TableLearner(tables, optimizer=self.optimizer, lr=rate, weight_decay=decay)

    def best_tables(self) -> dict[str, Tensor]:
        """Of both models."""
        return super().best_tables() | prefixed("exposure", self.learners_["exposure"].tables)

    def one_pass(self) -> bool:
        """Two models learn."""
        return False

    @torch.no_grad()
    def predict_exposure(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Exposures of pairs, float32 [n].

        Args:
            users, items: integer [n], inside indices.
        """
        pair = (torch.tensor(as_indices(column, name)) for name, column in (("users", users), ("items", items)))
        return self.pair_exposures(*pair).numpy()

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        self.exposure_.to_("cpu")


@dataclass(kw_only=True, eq=False, repr=False)
class LearnedExposure(TwoModels):
    """The likelihood of clicks under relevance sigmoid(s) and the exposure x of a `MixedExposure` with parameters phi.

        L = mean of -R log(x p) - (1 - R) log(1 - x p),    p = sigmoid(s)

    Args:
        detach_item: take the item factors in x for constants; else they learn through x too.
    """

    detach_item: bool = flag(True)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model and the exposure model."""
        self.exposure_ = MixedExposure(
            self.n_users_, self.factors, self.popularity_, seed=(self.seed, 0, 1), device=device
        )
        rating = (
            self._row_learner(self.model_, self.lr, self.l2, "exposure")
            if self.detach_item
            else self._loss_learner(self.model_, self.lr, self.l2)
        )
        return {"rating": rating, "exposure": self.exposure_learner(self.exposure_.tables())}

    def exposures(self, batch: Batch) -> Tensor:
        """x, [B], differentiable in phi, and in the item factors unless they are detached."""
        q = self.model_.item_factors
        return self.exposure_(q.detach() if self.detach_item else q, batch.users, batch.items)

    def clicks_loss(self, batch: Batch, exposures: Tensor) -> Tensor:
        """L of the batch, differentiable in the tables and the exposures."""
        scores = self.model_.score(batch.users, batch.items)
        return debias_ext.exposure_loss(scores, batch["targets"], exposures, reduction=self.reduction)

    def loss(self, batch: Batch) -> Tensor:
        """L of the batch."""
        return self.clicks_loss(batch, self.exposures(batch))

    def rating_step(self, batch: Batch, exposures: Tensor) -> Tensor:
        """A step of the rating model down L; returns L, detached."""
        learner, scale = self.learners_["rating"], self._l2_scale(len(batch), 1.0)
        if self.detach_item:
            given = replace(batch, columns={**batch.columns, "exposures": exposures.detach()})
            return learner.step(given, batch["targets"], None, scale=scale)
        loss = self.clicks_loss(batch, exposures)
        learner.update(loss, batch, scale=scale)
        return loss.detach()

    def exposure_gradients(self, loss: Tensor) -> list[Tensor]:
        """The gradients of a loss to phi."""
        return list(torch.autograd.grad(loss, list(self.exposure_.tables().values()), retain_graph=True))

    def pair_exposures(self, users: Tensor, items: Tensor) -> Tensor:
        """x of pairs, [B]."""
        return self.exposure_(self.model_.item_factors, users, items)
