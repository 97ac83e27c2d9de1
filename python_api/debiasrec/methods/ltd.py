"""Propensities that a few uniform ratings teach: learning to debias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.bilevel import BiLevel
from debiasrec.methods.mf import with_uniform_rows
from debiasrec.methods.neural import Neural
from debiasrec.methods.options import choice, number, whole
from debiasrec.methods.trained import Learner
from debiasrec.propensity.network import ACTIVATIONS, KINDS, PropensityNetwork, floored
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch
from debiasrec.training.loop import TrainingRun

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split

_PAPER = "Wang et al., Combating Selection Biases in Recommender Systems with a Few Unbiased Ratings, WSDM 2021"


@dataclass(kw_only=True, eq=False, repr=False)
class MFIPSLTD(BiLevel):
    """Inverse propensity scoring whose propensities q minimise the error on uniform ratings after the next step.

    On a batch of rated pairs, with v the coefficient `variance`,

        lower:  sum of (s - t)^2 / q  over biased pairs  +  sum of (s - t)^2  over uniform ones,
        upper:  sum of (s' - t)^2  over sampled uniform pairs, s' after the assumed step,  +  v * variance of q.

    The variance is the sample variance over the biased pairs of the batch; with reduction="mean" v is divided by the
    size of the batch, as the lower loss is. q comes from a `PropensityNetwork`, which sees the rating of the pair.

    Args:
        propensity_model: "pair", "logistic", "mlp1" or "mlp2".
        propensity_hidden: width of its hidden layers.
        activation: "relu", "sigmoid" or "tanh".
        propensity_lr: its learning rate; the optimiser is that of the rating model.
        variance: as above.
        step_lr: learning rate of the assumed step, plain gradient descent; None takes `lr`. The real step of Adagrad is
            far shorter than that of gradient descent with its learning rate.

    Attributes (after fit):
        propensity_: the propensities of the last epoch; `propensity_.predict(users, items, ratings)`.

    Source: Wang et al., LTD, WSDM 2021, eq (9), (13)-(15), (22) and algorithm 1.
    """

    name: ClassVar[str] = "mf_ips_ltd"
    summary: ClassVar[str] = "inverse propensity scoring with propensities that uniform ratings teach"
    source: ClassVar[str] = _PAPER

    propensity_model: str = choice("mlp1", *KINDS)
    propensity_hidden: int = whole(16)
    activation: str = choice("relu", *ACTIVATIONS)
    propensity_lr: float = number(0.01, above=0)
    variance: float = number(1.0, least=0)
    step_lr: float | None = number(None, above=0, none=True)

    def training_rows(self, split: Split) -> Interactions:
        """Biased and uniform training parts, concatenated."""
        return with_uniform_rows(split, self.name)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Which pairs are biased, and what the propensity model looks up of them."""
        train = split.train
        self.propensity_ = PropensityNetwork(
            self.propensity_model,
            split,
            train,
            hidden=self.propensity_hidden,
            activation=self.activation,
            seed=(self.seed, 0, 2),
        )
        start = float(floored(torch.zeros(())))
        self.mean_weight_ = (len(train) / start + len(rows) - len(train)) / len(rows)
        keys = np.zeros(len(rows), np.int64)
        keys[: len(train)] = self.propensity_.keys(train.users, train.items, train.ratings)
        return {"keys": keys, "biased": np.arange(len(rows)) < len(train)}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model and the propensity model."""
        self.propensity_.to_(device)
        tables = self.propensity_.tables()
        taught = TableLearner(tables, optimizer=self.optimizer, lr=self.propensity_lr)
        return {**super().learners(device), "propensity": taught}

    def upper_learners(self) -> list[TableLearner]:
        """The propensity model."""
        return [self.learners_["propensity"]]

    def assumed_lr(self) -> float:
        """`step_lr`, or that of the real step."""
        return self.lr if self.step_lr is None else self.step_lr

    def propensities(self, batch: Batch) -> Tensor:
        """q of the biased pairs and 1 for the uniform ones, [B]."""
        q = self.propensity_(batch.users, batch.items, batch["keys"])
        return torch.where(batch["biased"], q, torch.ones_like(q))

    def lower(self, batch: Batch) -> dict[str, Any]:
        """The weighted squared errors of the rated pairs."""
        return {
            "users": batch.users,
            "items": batch.items,
            "targets": batch["targets"] - self.offset_,
            "propensities": self.propensities(batch),
            "reduction": self.reduction,
        }

    def upper(self, batch: Batch) -> dict[str, Any]:
        """The squared errors of as many uniform pairs as the batch has, or of all where there are fewer."""
        rows = self.upper_["users"]
        chosen = batch.generator.choice(len(rows), min(len(batch), len(rows)), replace=False)
        index = torch.from_numpy(chosen).to(rows.device)
        return {**{name: column.index_select(0, index) for name, column in self.upper_.items()}, "reduction": "sum"}

    def upper_loss(self, batch: Batch) -> Tensor:
        """The errors after the assumed step, and the variance of the propensities."""
        lower = self.lower(batch)
        biased = lower["propensities"][batch["biased"]]
        loss = self.after_step(batch, lower)
        if len(biased) < 2:
            return loss
        return loss + self.variance * self._l2_scale(len(batch), 1.0) * biased.var()

    @torch.no_grad()
    def weights(self, batch: Batch) -> Tensor:
        """1/q."""
        return 1.0 / self.propensities(batch)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        self.propensity_.to_("cpu")


@dataclass(kw_only=True, eq=False, repr=False)
class NFIPSLTD(Neural, MFIPSLTD):
    """`MFIPSLTD` with a neural factorisation machine."""

    name: ClassVar[str] = "nf_ips_ltd"
    summary: ClassVar[str] = "inverse propensity scoring of an NFM with propensities that uniform ratings teach"
