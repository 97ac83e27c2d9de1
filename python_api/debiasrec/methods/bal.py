"""Balancing on top of plain matrix factorisation and of inverse propensity scoring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from debiasrec.methods.balance import Balanced
from debiasrec.methods.options import number, whole
from debiasrec.methods.trained import Learner
from debiasrec.propensity.network import FLOOR, floored
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class BalMF(Balanced):
    """Balancing weights on the squared errors of the rated pairs: sum of v (s - t)^2."""

    name: ClassVar[str] = "bal_mf"
    twin: ClassVar[str | None] = "mf"
    summary: ClassVar[str] = "matrix factorisation with balancing weights on the rated pairs"

    def own_weights(self, batch: Batch) -> Tensor:
        """The weights of the rated pairs before balancing, [B]."""
        return torch.ones_like(batch["targets"])

    @torch.no_grad()
    def lower_step(self, batch: Batch) -> Tensor:
        """The balancing step, then a fused step with the weights of the method times the balancing ones."""
        own = self.own_weights(batch)
        errors = (self.model_.score(batch.users, batch.items) - batch["targets"]).square()
        balancing, _ = self.balance_step(batch, errors * own / own.mean())
        scale = self.batch_l2_scale(batch)
        return self.learners_["rating"].step(batch, batch["targets"], own * balancing, scale=scale)


@dataclass(kw_only=True, eq=False, repr=False)
class BalIPS(BalMF):
    """Balancing weights on inverse propensity scoring: sum of v (s - t)^2 / q, q = sigmoid of a factor model.

    The propensities are learned from the uniform ratings by one assumed step of the scores, which has no balancing
    weights. They start at the share of pairs that are rated (at 1/2 if `published`), so that their inverses sum to the
    number of all pairs; a smooth floor keeps them above 0.001.

    Args:
        propensity_factors: length of the factor vectors of the propensity model.
        propensity_lr, propensity_decay: its learning rate and weight decay (Adam).

    Attributes (after fit):
        propensity_: the model of their logits.
    """

    name: ClassVar[str] = "bal_ips"
    twin: ClassVar[str | None] = "ips"
    summary: ClassVar[str] = "inverse propensity scoring with learned propensities and balancing weights"

    propensity_factors: int = whole(10)
    propensity_lr: float = number(0.001, above=0)
    propensity_decay: float = number(0.0, least=0)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The propensity model as well."""
        density = self._density()
        start = 0.0 if self.published else math.log(density / (1.0 - density)) if density < 1.0 else 0.0
        self.propensity_ = self._model(self.propensity_factors, 6, device, start)
        self.mean_weight_ = 1.0 / float(floored(torch.tensor(start, dtype=torch.float64)))
        tables = self.propensity_.tables()
        propensity = TableLearner(tables, lr=self.propensity_lr, weight_decay=self.propensity_decay)
        return {**super().learners(device), "propensity": propensity}

    def lower(self, batch: Batch) -> dict[str, Any]:
        """The squared errors of the rated pairs over their propensities."""
        return {
            "users": batch.users,
            "items": batch.items,
            "targets": batch["targets"] - self.offset_,
            "propensity_logits": self.propensity_.score(batch.users, batch.items),
            "floor": FLOOR,
            "reduction": self.reduction,
        }

    def propensities(self, batch: Batch) -> Tensor:
        """Of the rated pairs, [B], differentiable in the tables of the propensity model."""
        logits = self.propensity_.score(batch.users, batch.items)
        return floored(logits)

    def own_weights(self, batch: Batch) -> Tensor:
        """The inverse propensities."""
        return 1.0 / self.propensities(batch)
