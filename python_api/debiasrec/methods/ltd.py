"""Propensities that a few uniform ratings teach: learning to debias."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.bilevel import BiLevel
from debiasrec.methods.mf import with_uniform_rows
from debiasrec.methods.neural import Neural
from debiasrec.methods.options import choice, number, whole
from debiasrec.methods.trained import Learner
from debiasrec.models import UnratedPairs
from debiasrec.propensity.network import ACTIVATIONS, KINDS, PropensityNetwork
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
        rows = self.uniform_["users"]
        chosen = batch.generator.choice(len(rows), min(len(batch), len(rows)), replace=False)
        index = torch.from_numpy(chosen).to(rows.device)
        return {**{name: column.index_select(0, index) for name, column in self.uniform_.items()}, "reduction": "sum"}

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
        self._unrated = UnratedPairs(rows.users, rows.items, self.n_users_, self.n_items_)
        return super().prepare(split, rows)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model, the propensity model and the imputation model."""
        self.imputation_ = self._model(self.imputation_factors, 1, device)
        lr = self.lr if self.imputation_lr is None else self.imputation_lr
        l2 = self.l2 if self.imputation_l2 is None else self.imputation_l2
        return {**super().learners(device), "imputation": self._row_learner(self.imputation_, lr, l2)}

    def step(self, batch: Batch) -> Tensor:
        """The imputation model's step, the propensity model's, and the rating model's."""
        with torch.no_grad():
            residuals = batch["targets"] - self.model_.score(batch.users, batch.items)
        scale = self._l2_scale(len(batch), 1.0)
        self.learners_["imputation"].step(batch, residuals, self.weights(batch), scale=scale)
        return super().step(self._imputed(batch))

    @torch.no_grad()
    def _imputed(self, batch: Batch) -> Batch:
        """The batch with the imputations of its pairs, and with unrated pairs and theirs."""
        users, items = self._unrated.draw(len(batch), batch.generator, batch.users.device)
        columns = {
            "imputations": self.imputation_.score(batch.users, batch.items),
            "unrated_users": users,
            "unrated_items": items,
            "unrated_imputations": self.imputation_.score(users, items),
        }
        return replace(batch, columns={**batch.columns, **columns})

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
        scale = self._l2_scale(rated, 1.0)
        loss = self.learners_["rating"].step(joined, targets, counts, scale=scale)
        rest = weights * (1.0 - weights) * gap.square()
        return loss + (rest.sum() if self.reduction == "sum" else rest.mean())

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._unrated


@dataclass(kw_only=True, eq=False, repr=False)
class NFIPSLTD(Neural, MFIPSLTD):
    """`MFIPSLTD` with a neural factorisation machine."""

    name: ClassVar[str] = "nf_ips_ltd"
    summary: ClassVar[str] = "inverse propensity scoring of an NFM with propensities that uniform ratings teach"


@dataclass(kw_only=True, eq=False, repr=False)
class NFDRLTD(Neural, MFDRLTD):
    """`MFDRLTD` with neural factorisation machines, one that predicts and one that imputes."""

    name: ClassVar[str] = "nf_dr_ltd"
    summary: ClassVar[str] = "doubly robust learning of an NFM with propensities that uniform ratings teach"
