"""Causal embeddings: item tables of the biased and of the uniform ratings, held together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debias_ext import FactorTables
from debiasrec.methods.mf import MFCombine, uniform_rows
from debiasrec.methods.options import number
from debiasrec.methods.trained import Learner
from debiasrec.models import MatrixFactorization, Model
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class CausE(MFCombine):
    """Two item tables with shared users: a factual one for biased ratings, a control one for uniform ratings.

        L = sum over biased pairs of (s - t)^2 + sum over uniform pairs of (s' - t)^2
            + pull sum over biased pairs of |Q_i - stop(Q'_i)|_1,

    s from the factual factors Q and biases, s' from the control ones Q'. The factual table predicts. The pull counts an
    item as often as the batch rates it, moves the factual row alone, and with reduction="mean" is divided, like the
    errors, by the number of rated pairs.

    Args:
        pull: weight of the distance between the item tables.

    Source: Bonner and Vasile 2018, eq (7) and (8), with the L1 distance and the frozen control table of the public
        programs of Chen et al., AutoDebias, SIGIR 2021.
    """

    name: ClassVar[str] = "cause"
    summary: ClassVar[str] = "causal embeddings: item tables of biased and uniform ratings, held together"
    source: ClassVar[str] = "Bonner and Vasile, Causal Embeddings for Recommendation, RecSys 2018"

    pull: float = number(0.1, least=0)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Control rows stand below the factual ones in one table: item i of a uniform rating is row I + i."""
        uniform = np.arange(len(rows)) >= len(rows) - len(uniform_rows(split, self.name))
        return {"item_rows": rows.items + self.n_items_ * uniform, "factual": (~uniform).astype(np.float32)}

    def _base_model(self, device: str | torch.device) -> Model:
        factual, control = self._model(self.factors, 0, device), self._model(self.factors, 1, device)
        item_factors = torch.cat([factual.item_factors, control.item_factors])
        item_bias = torch.cat([factual.item_bias, control.item_bias])
        tables = FactorTables(factual.user_factors, item_factors, factual.user_bias, item_bias)
        return MatrixFactorization.of(tables, self.offset_)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner of both item tables."""
        return {"rating": self._loss_learner(self.model_, self.lr, self.l2)}

    def one_pass(self) -> bool:
        """The pull is no error of a pair."""
        return False

    def step(self, batch: Batch) -> Tensor:
        """One step down `loss`."""
        loss = self.loss(batch)
        block = batch.block and (batch.block[0], torch.cat([batch.block[1], batch.block[1] + self.n_items_]))
        touched = replace(batch, items=batch["item_rows"], block=block)
        self.learners_["rating"].update(loss, touched, scale=self._l2_scale(len(batch), 1.0))
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The errors of the rated pairs and the pull."""
        errors = self.model_.loss(batch.users, batch["item_rows"], batch["targets"], None, self.reduction)
        factual, control = self.model_.item_factors.split(self.n_items_)
        counts = factual.new_zeros(self.n_items_).index_add_(0, batch.items, batch["factual"])
        weights = counts[:, None].expand_as(factual)
        distance = debias_ext.pointwise_loss(factual, control.detach(), weights, loss="mae", reduction="sum")
        return errors + self.pull * distance / (len(batch) if self.reduction == "mean" else 1)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        model, items = self.model_, slice(self.n_items_)
        factual = FactorTables(model.user_factors, model.item_factors[items], model.user_bias, model.item_bias[items])
        self.model_ = MatrixFactorization.of(factual, self.offset_)
