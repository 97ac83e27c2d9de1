"""Balancing on top of doubly robust learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from debiasrec.methods.bal import BalIPS
from debiasrec.methods.balance import pair_errors
from debiasrec.methods.options import choice, number, whole
from debiasrec.methods.trained import Learner
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class BalDR(BalIPS):
    """Balancing weights on doubly robust learning, with pseudo labels p = stop(s) + g for all pairs of a block:

        sum over all pairs of v' (s - p)^2 + sum over rated pairs of v ((s - t)^2 - (s - p)^2) / q.

    The imputation model g learns the residuals t - s of the uniform ratings, on every batch first. Propensities and
    scores then take their steps as in `bal_ips`.

    Args:
        imputation_factors: length of the factor vectors of g.
        imputation_lr, imputation_l2: its learning rate and L2, by the optimiser of the scores.

    Attributes (after fit):
        imputation_: g, a MatrixFactorization.
    """

    name: ClassVar[str] = "bal_dr"
    twin: ClassVar[str | None] = "dr"
    summary: ClassVar[str] = "doubly robust learning with learned propensities and balancing weights of all pairs"
    weighs_all_pairs: ClassVar[bool] = True
    needs_empty_blocks: ClassVar[bool] = True

    batching: str = choice("block", "flat", "block")
    user_block: int = whole(256)
    item_block: int = whole(128)
    imputation_factors: int = whole(10)
    imputation_lr: float = number(0.001, above=0)
    imputation_l2: float = number(0.0, least=0)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The imputation model as well; the scores train on a loss of their own."""
        self.imputation_ = self._model(self.imputation_factors, 7, device)
        return {
            **super().learners(device),
            "rating": self._loss_learner(self.model_, self.lr, self.l2),
            "imputation": self._row_learner(self.imputation_, self.imputation_lr, self.imputation_l2),
        }

    def upper_learners(self) -> list[TableLearner]:
        """The propensity model."""
        return [self.learners_["propensity"]]

    def step(self, batch: Batch) -> Tensor:
        """The imputation model's step, the propensities', the balancing weights', the scores'."""
        self._imputation_step(batch)
        return super().step(batch)

    def _imputation_step(self, batch: Batch) -> None:
        uniform = self.upper_
        rows = Batch(uniform["users"], uniform["items"], {}, None, batch.generator)
        with torch.no_grad():
            residuals = uniform["targets"] + self.offset_ - self.model_.score(rows.users, rows.items)
        self.learners_["imputation"].step(rows, residuals, None, scale=self._l2_scale(len(rows), 1.0))

    def lower(self, batch: Batch) -> dict[str, Any]:
        """All pairs of the block by row, the rated ones marked."""
        assert batch.block is not None
        users, items = batch.block
        rows, columns = batch.places(self.n_users_, self.n_items_)
        place = rows * len(items) + columns

        def spread(values: Tensor, elsewhere: float) -> Tensor:
            return values.new_full((len(users) * len(items),), elsewhere).index_put((place,), values)

        with torch.no_grad():
            imputations = self.imputation_.grid(users, items).flatten()
        return {
            "users": users.repeat_interleave(len(items)),
            "items": items.repeat(len(users)),
            "targets": spread(batch["targets"] - self.offset_, 0.0),
            "propensities": spread(self.propensities(batch), 1.0),
            "imputations": imputations,
            "observed": spread(torch.ones_like(batch["targets"]), 0.0).bool(),
            "reduction": self.reduction,
        }

    def lower_step(self, batch: Batch) -> Tensor:
        """The balancing step, then one down the doubly robust loss."""
        assert batch.block is not None
        users, items = batch.block
        with torch.no_grad():
            own = self.own_weights(batch)
            scores = self.model_.score(batch.users, batch.items)
            guess = self.imputation_.score(batch.users, batch.items)
            every = self.imputation_.grid(users, items)
            errors, imputed = (scores - batch["targets"]).square(), guess.square()
            v_rated, v_pairs = self.balance_step(batch, (errors - imputed) * own / own.mean(), every.square())
        grid = self.model_.grid(users, items)
        of_pairs = pair_errors(grid, grid.detach() + every, v_pairs, "sum")
        of_rated = sum(
            sign * self.model_.loss(batch.users, batch.items, targets, own * v_rated, "sum")
            for targets, sign in ((batch["targets"], 1), (scores + guess, -1))
        )
        loss = self.two_kinds(of_rated, of_pairs, batch)
        if self.reduction == "mean" and not self.published:
            loss = loss / every.numel()
        self.learners_["rating"].update(loss, batch, scale=self.batch_l2_scale(batch))
        return loss.detach()
