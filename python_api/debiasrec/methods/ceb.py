"""Clicks weighted by an exposure that is learned beside the relevance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

import debias_ext
from debiasrec.methods.learned_exposure import TwoModels
from debiasrec.methods.options import choice, flag, number
from debiasrec.methods.trained import Learner
from debiasrec.models import MatrixFactorization
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class CEB(TwoModels):
    """A risk of the relevance p = sigmoid(s) under exposure x, and the likelihood of the clicks R, which teaches x.

        L = mean of  risk + likelihood (-R log(x p) - (1 - R) log(1 - x p)),     x = sigmoid(alpha[u] + beta[i])

        risk, R = 1:  "w"   -1/x log p                          R = 0:  -(1-p)/(1-xp) log(1-p)
                      "pu"  -1/x log p - (1 - 1/x) log(1-p)             -log(1-p)
                      "ap"  -log p                                      -(1-p)/(1-xp) log(1-p) - p(1-x)/(1-xp) log p

    With constant weights the gradient of "ap" to s is that of the likelihood. The public program never reaches "ap",
    and takes log(1-p) for its last log p.

    Args:
        risk: "w", "pu" or "ap".
        likelihood: weight of the likelihood beside the risk.
        clip_min: the least x that is divided by.
        detach_weights: take the weights in the risk for constants; the public program does not.

    Source: Gupta et al., Correcting Exposure Bias for Link Recommendation, ICML 2021, section 4, with the exposure of a
        user and an item in place of the one between fields of study.
    """

    name: ClassVar[str] = "ceb"
    summary: ClassVar[str] = "clicks weighted by an exposure learned from their likelihood"
    source: ClassVar[str] = "Gupta et al., Correcting Exposure Bias for Link Recommendation, ICML 2021"

    risk: str = choice("w", "w", "pu", "ap")
    likelihood: float = number(20.0, least=0)
    clip_min: float = number(1e-3, above=0, most=1)
    detach_weights: bool = flag(True)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model, and alpha and beta."""
        seed = (self.seed, 0, 1)
        self.exposure_ = MatrixFactorization(self.n_users_, self.n_items_, 0, seed=seed, device=device)
        tables = {name: table for name, table in self.exposure_.learned_biases().items() if table is not None}
        rating = self._loss_learner(self.model_, self.lr, self.l2)
        return {"rating": rating, "exposure": self.exposure_learner(tables)}

    def loss(self, batch: Batch) -> Tensor:
        """The risk and the likelihood."""
        clicks, scores = batch["targets"], self.model_.score(batch.users, batch.items)
        logits = self.exposure_.score(batch.users, batch.items)
        likelihood = debias_ext.exposure_loss(scores, clicks, exposure_logits=logits, reduction=self.reduction)
        return self._risk(scores, logits, clicks) + self.likelihood * likelihood

    def _risk(self, scores: Tensor, logits: Tensor, clicks: Tensor) -> Tensor:
        """With c = s + log(1 - x):  (1 - p) / (1 - x p) = sigmoid(-c)  and  p (1 - x) / (1 - x p) = sigmoid(c)."""
        seen, hidden = torch.sigmoid(logits), scores - softplus(logits)
        if self.detach_weights:
            seen, hidden = seen.detach(), hidden.detach()
        if self.risk == "pu":
            return debias_ext.relmf_loss(
                scores, clicks, seen, form="log", clip_min=self.clip_min, reduction=self.reduction
            )
        weights, targets = None, clicks
        if self.risk == "w":
            weights = torch.where(clicks > 0, 1 / seen.clamp(min=self.clip_min), torch.sigmoid(-hidden))
        else:
            targets = torch.where(clicks > 0, clicks, torch.sigmoid(hidden))
        return debias_ext.pointwise_loss(scores, targets, weights, loss="bce", reduction=self.reduction)

    def step(self, batch: Batch) -> Tensor:
        """One step of both models, from the same tables."""
        loss, exposure = self.loss(batch), self.learners_["exposure"]
        gradients = torch.autograd.grad(loss, list(exposure.tables.values()), retain_graph=True)
        self.learners_["rating"].update(loss, batch, scale=self._l2_scale(len(batch), 1.0))
        exposure.step(gradients)
        return loss.detach()

    def pair_exposures(self, users: Tensor, items: Tensor) -> Tensor:
        """x of pairs, [B]; `exposure_` gives their logits."""
        return torch.sigmoid(self.exposure_.score(users, items))
