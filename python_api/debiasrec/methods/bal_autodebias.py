"""Balancing on top of AutoDebias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from debiasrec.methods.autodebias import AutoDebias
from debiasrec.methods.balance import Balanced, pair_errors
from debiasrec.methods.options import choice, whole
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class BalAutoDebias(Balanced, AutoDebias):
    """Balancing weights on AutoDebias, v on the rated pairs and v' on all pairs of a block:

        sum over rated pairs of v w1 (s - t)^2 + lambda * sum over all pairs of v' w2 (s - m)^2.

    w1, w2 and m are learned as in `autodebias`, by an assumed step that has no balancing weights. With `published` the
    estimate is mean(v (s - t)^2) + mean(v' (s - m)^2), without w1, w2 and lambda.
    """

    name: ClassVar[str] = "bal_autodebias"
    twin: ClassVar[str | None] = "autodebias"
    summary: ClassVar[str] = "AutoDebias with balancing weights of the rated and of all pairs"
    weighs_all_pairs: ClassVar[bool] = True

    batching: str = choice("block", "flat", "block")
    user_block: int = whole(256)
    item_block: int = whole(128)

    def lower_step(self, batch: Batch) -> Tensor:
        """The balancing step, then one down the lower loss with all weights."""
        assert batch.block is not None
        with torch.no_grad():
            lower = self.lower(batch)
            w1 = lower["weights"]
            w2, values = self._grids(batch, lower["block"])
            rated_errors = (self.model_.score(batch.users, batch.items) - batch["targets"]).square()
        scores = self.model_.grid(*batch.block)
        v_rated, v_pairs = self.balance_step(batch, *self._terms(w1, rated_errors, w2, scores.detach(), values))
        assert v_pairs is not None
        of_rated = self.model_.loss(batch.users, batch.items, batch["targets"], w1 * v_rated, "sum")
        loss = self.two_kinds(of_rated, pair_errors(scores, values, v_pairs * w2, "sum"), batch)
        if self.published:
            loss = loss / self._share(batch)  # two means already
        self.learners_["rating"].update(loss, batch, scale=self.batch_l2_scale(batch))
        return loss.detach()

    def _terms(
        self, w1: Tensor, rated_errors: Tensor, w2: Tensor, scores: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What v and v' multiply in the training error."""
        if self.published:
            return rated_errors, pair_errors(scores, values, None, "none")
        total = w1.sum() + w2.sum()
        return w1.numel() / total * w1 * rated_errors, pair_errors(scores, values, w2 * (w2.numel() / total), "none")

    def _grids(self, batch: Batch, block: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """lambda w2 and m of all pairs of the block, [m, n]."""
        place = batch.places(self.n_users_, self.n_items_)
        weights = torch.outer(block["user_weight"], block["item_weight"])
        values = (block["value"] + self.offset_).expand_as(weights).clone()
        values.index_put_(place, block["imputations"] + self.offset_)
        return weights.index_put_(place, block["weights"]), values
