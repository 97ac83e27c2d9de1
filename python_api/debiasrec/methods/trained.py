"""What the methods share that fit the scores of rated pairs by gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.methods.hyperparameters import Hyperparameters
from debiasrec.methods.looped import Learner, Looped
from debiasrec.methods.teachers import fit_teachers
from debiasrec.models import MatrixFactorization, Model
from debiasrec.training.learner import LossLearner, RowLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class Trained(Hyperparameters, Looped):
    """A method that fits the scores of rated pairs.

    It states which rows it trains on (`training_rows`), adds columns to them (`prepare`), and states its weights
    (`weights`) or another objective (`loss`); one with several models also states their turns (`learners`, `step`).
    """

    needs_empty_blocks: ClassVar[bool] = False

    # What a trained method defines.

    def training_rows(self, split: Split) -> Interactions:
        """The rows of the split that are trained on."""
        return split.train

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Further columns of the training rows; "users", "items" and "targets" are there already."""
        return {}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The learners by name; "rating" trains the model that predicts."""
        return {"rating": self._row_learner(self.model_, self.lr, self.l2)}

    def weights(self, batch: Batch) -> Tensor | None:
        """The weights of the rated pairs, [B]; None for 1. By default the column "weights", where there is one."""
        return batch.columns.get("weights")

    def loss(self, batch: Batch) -> Tensor:
        """The objective on a batch without its L2 term, a scalar, differentiable in the tables of `model_`.

        By default the weighted squared error of the rated pairs.
        """
        return self.model_.loss(batch.users, batch.items, batch["targets"], self.weights(batch), self.reduction)

    def one_pass(self) -> bool:
        """Whether an epoch does nothing but `RowLearner` steps with the columns "targets" and "weights"."""
        return True

    def step(self, batch: Batch) -> Tensor:
        """One update on a batch; returns the loss, detached. By default a fused step down `loss`."""
        scale = self.batch_l2_scale(batch)
        return self.learners_["rating"].step(batch, batch["targets"], self.weights(batch), scale=scale)

    def batch_l2_scale(self, batch: Batch) -> float:
        """The factor of the L2 term of the predicting model beside the loss of a batch.

        Beside a mean it follows the rated pairs and their mean weight, or, where all pairs of a block train, as many
        rated pairs as such a block holds on average.
        """
        if self.needs_empty_blocks:
            return self._l2_scale(self._expected_rated(batch), 1.0)
        return self._l2_scale(len(batch), self.mean_weight_)

    def loader_of(self, loader: FlatLoader | BlockLoader, epoch: int) -> FlatLoader | BlockLoader:
        """The loader of an epoch; by default the same for all."""
        return loader

    def epoch(self, loader: FlatLoader | BlockLoader, number: int) -> float:
        """The steps of an epoch; returns the mean of their losses."""
        loader = self.loader_of(loader, number)
        if self.one_pass() and isinstance(loader, FlatLoader):
            learner = self.learners_["rating"]
            return float(learner.epoch(loader, number, lambda length: self._l2_scale(length, self.mean_weight_)))
        return super().epoch(loader, number)

    # What every trained method does.

    def check_combination(self) -> None:
        """L2 over a whole block needs blocks."""
        if self.l2_rows == "block" and self.batching == "flat":
            raise DebiasRecError(f'{self.name}: l2_rows="block" needs batching="block", got batching="flat"')

    def _watched(self) -> str:
        return self.criterion

    def _advice(self) -> dict[str, Any]:
        return {"lr": self.lr, "optimizer": self.optimizer, "reduction": self.reduction}

    def _start(self, split: Split, device: str | torch.device) -> FlatLoader | BlockLoader:
        self._describe(split)
        fit_teachers(self, split, device)
        rows = self.training_rows(split)
        if not len(rows):
            raise DebiasRecError(f"method {self.name}: the split {split.name!r} has no rows to train on")
        self.n_rows_ = len(rows)
        self.mean_weight_ = 1.0
        targets = self.encode(rows.ratings)
        arrays = {"users": rows.users, "items": rows.items, "targets": targets, **self.prepare(split, rows)}
        columns = {name: torch.tensor(array, device=device) for name, array in arrays.items()}
        self.offset_ = float(np.mean(targets, dtype=np.float64)) if self.target == "stars" else 0.0
        self.model_: Any = self._base_model(device)
        self.learners_: dict[str, Any] = self.learners(device)
        return self._loader(columns)

    def _loader(self, columns: dict[str, Tensor]) -> FlatLoader | BlockLoader:
        if self.batching == "flat":
            return FlatLoader(columns, batch_size=self.batch_size, seed=self.seed)
        return BlockLoader(
            columns,
            shape=(self.n_users_, self.n_items_),
            block=(self.user_block, self.item_block),
            seed=self.seed,
            skip_empty=not self.needs_empty_blocks,
        )

    def _base_model(self, device: str | torch.device) -> Model:
        """The model that predicts, before training."""
        return self._model(self.factors, 0, device, self.offset_)

    def _model(self, factors: int, stream: int, device: str | torch.device, offset: float = 0.0) -> MatrixFactorization:
        seed = (self.seed, 0, stream)
        return MatrixFactorization(self.n_users_, self.n_items_, factors, seed=seed, offset=offset, device=device)

    def _row_learner(self, model: MatrixFactorization, lr: float, l2: float, loss: str = "mse") -> RowLearner:
        options = {"optimizer": self.optimizer, "l2_rows": self.l2_rows, "reduction": self.reduction}
        return RowLearner(model, lr=lr, l2=l2, loss=loss, **options)

    def _loss_learner(self, model: Model, lr: float, l2: float) -> LossLearner:
        options = {"optimizer": self.optimizer, "l2_rows": self.l2_rows, "reduction": self.reduction}
        return LossLearner(model, lr=lr, l2=l2, **options)

    def _l2_scale(self, rated: float, mean_weight: float) -> float:
        """The factor of the L2 term beside the errors of `rated` pairs with weights of that mean."""
        return 1.0 if self.reduction == "sum" else mean_weight / rated

    def _expected_rated(self, batch: Batch) -> float:
        """The rated pairs of a flat batch, or as many as a block of that size holds on average."""
        if batch.block is None:
            return len(batch)
        return len(batch.block[0]) * len(batch.block[1]) * self._density()

    def _density(self) -> float:
        """The share of all pairs that is rated."""
        return self.n_rows_ / (self.n_users_ * self.n_items_)
