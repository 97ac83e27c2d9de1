"""AutoDebias: weights and imputed values of all pairs, learned from uniform ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debias_ext import ConstantTarget
from debiasrec.errors import DebiasRecError
from debiasrec.methods.bilevel import BiLevel
from debiasrec.methods.options import number, whole
from debiasrec.methods.trained import Learner
from debiasrec.models import AdditiveWeights, sampled_pairs
from debiasrec.models.initial import he_normal
from debiasrec.training.learner import LossLearner, RowLearner, TableLearner
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split

# Rows of the imputed values and, for missing and rated pairs, of the labels of w2.
MISSING, RATED = 0, 1


@dataclass(kw_only=True, eq=False, repr=False)
class AutoDebias(BiLevel):
    """Weights on the rated pairs, and weights and imputed values on all pairs, learned from uniform ratings.

        lower = sum over rated pairs of w1 (s - t)^2 + lambda * sum over all pairs of w2 (s - m)^2
        upper = sum over uniform pairs of (s - t)^2, after an assumed step of the lower one
        w1 = exp((a[u] + b[i] + c[label]) / 5), w2 = exp((a'[u] + b'[i] + c'[rated or not]) / 5)
        m = the middle of the targets + half their range * tanh(v[missing, negative or positive])

    The sum over all pairs of a block is a product of small Gram matrices (no pair is enumerated); flat batches estimate
    it from as many uniformly sampled pairs as they have rated ones. The uniform ratings do not train the scores.

    Args:
        imputation_weight: lambda.
        w1_lr, w1_decay: learning rate and weight decay of w1 (Adam; the decay is a part of the gradient).
        w2_lr, w2_decay: of w2.
        imputation_lr, imputation_decay: of v.
        imputation_epochs: epochs at the start in which of the upper models only v trains.
        watch_after: early stopping looks at the epochs after this one.

    Attributes (after fit):
        w1_, w2_: AdditiveWeights.
        imputation_: v, [3]: missing, negative, positive.

    Source: Chen et al., AutoDebias: Learning to Debias for Recommendation, SIGIR 2021, section 4. The order of the
    steps, the initial values and the first epochs are those of its public program.
    """

    name: ClassVar[str] = "autodebias"
    summary: ClassVar[str] = "weights and imputed values of all pairs, learned from uniform ratings by bi-level steps"
    source: ClassVar[str] = "Chen et al., AutoDebias: Learning to Debias for Recommendation, SIGIR 2021"
    needs_empty_blocks: ClassVar[bool] = True

    imputation_weight: float = number(0.03, least=0)
    w1_lr: float = number(0.001, above=0)
    w1_decay: float = number(0.0, least=0)
    w2_lr: float = number(0.001, above=0)
    w2_decay: float = number(0.0, least=0)
    imputation_lr: float = number(0.1, above=0)
    imputation_decay: float = number(0.0, least=0)
    imputation_epochs: int = whole(0, least=0)
    watch_after: int = whole(0, least=0)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The labels: 0 negative, 1 positive."""
        low, high = {"signed": (-1.0, 1.0), "binary": (0.0, 1.0)}.get(self.target, split.dataset.rating_scale)
        self._middle, self._half_range = (low + high) / 2, (high - low) / 2
        return {"labels": split.dataset.positives(rows.ratings).astype(np.int64)}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model, both weight models and the imputed values."""
        shape = (self.n_users_, self.n_items_, 2)
        self.w1_ = AdditiveWeights(*shape, seed=(self.seed, 0, 1), device=device)
        self.w2_ = AdditiveWeights(*shape, seed=(self.seed, 0, 2), device=device)
        self.imputation_ = he_normal(np.random.default_rng((self.seed, 0, 3)), 3, device=device, scale=1e-3)
        options: dict[str, Any] = {"optimizer": self.optimizer, "lr": self.lr, "l2": self.l2}
        rating = (
            RowLearner(self.model_, **options, l2_rows="touched", reduction="sum")
            if self.batching == "flat"
            else LossLearner(self.model_, **options, l2_rows="block")
        )
        return {
            "rating": rating,
            "w1": TableLearner(self.w1_.tables(), lr=self.w1_lr, weight_decay=self.w1_decay),
            "w2": TableLearner(self.w2_.tables(), lr=self.w2_lr, weight_decay=self.w2_decay),
            "imputation": TableLearner(
                {"v": self.imputation_}, lr=self.imputation_lr, weight_decay=self.imputation_decay
            ),
        }

    def begin_epoch(self, epoch: int) -> None:
        """Decide which upper models train."""
        self._weights_train = epoch > self.imputation_epochs

    def upper_learners(self) -> list[TableLearner]:
        """The imputed values alone at first, then both weight models too."""
        names = ("w1", "w2", "imputation") if self._weights_train else ("imputation",)
        return [self.learners_[name] for name in names]

    def unwatched_epochs(self) -> int:
        """The first epochs, in which the weights have not settled."""
        return self.watch_after

    def check_combination(self) -> None:
        """Early stopping needs an epoch to look at."""
        super().check_combination()
        if self.watch_after >= self.max_epochs:
            raise DebiasRecError(
                f"{self.name}: watch_after must be below max_epochs={self.max_epochs}, got {self.watch_after}"
            )

    def imputed_values(self) -> Tensor:
        """m of missing, negative and positive pairs, [3], differentiable in v."""
        return self._middle + self._half_range * torch.tanh(self.imputation_)

    def lower(self, batch: Batch) -> dict[str, Any]:
        """The weighted errors of the rated pairs and of all pairs."""
        share = self._share(batch)
        labels = batch["labels"]
        values = self.imputed_values() - self.offset_
        rated = {
            "users": batch.users,
            "items": batch.items,
            "targets": batch["targets"] - self.offset_,
            "weights": share * self.w1_.of(batch.users, batch.items, labels),
            "reduction": "sum",
        }
        scale = share * self.imputation_weight
        imputed = {
            "value": values[MISSING],
            "weights": scale * self.w2_.of(batch.users, batch.items, torch.full_like(labels, RATED)),
            "imputations": values[1:].index_select(0, labels),
        }
        if batch.block is None:
            return self._with_sampled_pairs(batch, rated, imputed, scale)
        users, items = batch.block
        user_weight, item_weight = self.w2_.factors(users, items, MISSING)
        block = {"users": users, "items": items, "user_weight": scale * user_weight, "item_weight": item_weight}
        return {**rated, "block": {**block, **imputed}}

    def _share(self, batch: Batch) -> float:
        """The factor of the lower loss; a mean of block sums goes by the ratings that such a block holds on average."""
        return 1.0 if self.reduction == "sum" else 1.0 / self._expected_rated(batch)

    def _with_sampled_pairs(
        self, batch: Batch, rated: dict[str, Any], imputed: dict[str, Tensor], scale: float
    ) -> dict[str, Any]:
        """All pairs from a sample taken to be missing; the rated pairs then have their own term instead of that one."""
        users, items = sampled_pairs(self.n_users_, self.n_items_, len(batch), batch.generator, batch.users.device)
        stands_for = 1.0 / self._density()
        label = torch.full_like(users, MISSING)
        sampled = scale * stands_for * self.w2_.of(users, items, label)
        instead = -scale * self.w2_.of(batch.users, batch.items, label)
        missing = imputed["value"].expand(len(batch))
        return {
            "users": torch.cat([*[batch.users] * 3, users]),
            "items": torch.cat([*[batch.items] * 3, items]),
            "targets": torch.cat([rated["targets"], imputed["imputations"], missing, missing]),
            "weights": torch.cat([rated["weights"], imputed["weights"], instead, sampled]),
            "reduction": "sum",
        }

    def lower_step(self, batch: Batch) -> Tensor:
        """The real step down the lower loss, which touches every row of a block."""
        with torch.no_grad():
            lower = self.lower(batch)
        learner, scale = self.learners_["rating"], self.batch_l2_scale(batch)
        if batch.block is None:
            rows = Batch(lower["users"], lower["items"], {}, None, batch.generator)
            return learner.step(rows, lower["targets"] + self.offset_, lower["weights"], scale=scale)
        loss = self._block_loss(batch, lower, lower["block"])
        learner.update(loss, batch, scale=scale)
        return loss.detach()

    def _block_loss(self, batch: Batch, lower: dict[str, Any], block: dict[str, Tensor]) -> Tensor:
        tables = self.model_.block(block["users"], block["items"])
        return debias_ext.block_loss(
            tables.user_factors,
            tables.item_factors,
            user_bias=tables.user_bias - self.offset_,
            item_bias=tables.item_bias,
            rated=(*batch.places(self.n_users_, self.n_items_), lower["targets"], lower["weights"]),
            unobserved=ConstantTarget(
                block["value"],
                block["user_weight"],
                block["item_weight"],
                rated_weights=block["weights"],
                rated_values=block["imputations"],
            ),
        )
