"""What every method shares: hyper-parameters, fit, predict, encode, recommend, save."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from debiasrec.data.dataset import check_split
from debiasrec.data.validation import as_indices
from debiasrec.errors import DebiasRecError
from debiasrec.methods import persistence, serving
from debiasrec.methods.hyperparameters import Hyperparameters
from debiasrec.methods.options import check_device, check_options
from debiasrec.methods.task import MethodTask
from debiasrec.models import MatrixFactorization
from debiasrec.training.learner import LossLearner, RowLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader
from debiasrec.training.loop import ProgressEvent, TrainingRun, train
from debiasrec.training.validation import make_validator

if TYPE_CHECKING:
    from typing_extensions import Self

    from debiasrec.data.dataset import Interactions, Split


Learner = RowLearner | LossLearner


@dataclass(kw_only=True, eq=False, repr=False)
class Method(Hyperparameters):
    """A recommender of matrix-factorisation scores, trained on a split.

    A method states which rows it trains on (`training_rows`), adds columns to them (`prepare`), and states its
    weights (`weights`) or another objective (`loss`); one with several models also states their turns (`learners`,
    `step`).

    Attributes (after fit):
        model_: the fitted MatrixFactorization.
        history_: DataFrame epoch, loss (mean over steps), validation, seconds.
        best_epoch_, stopped_by_, fit_seconds_.
    """

    name: ClassVar[str]
    needs_uniform: ClassVar[bool] = False
    summary: ClassVar[str]
    source: ClassVar[str]
    needs_empty_blocks: ClassVar[bool] = False

    # What a method defines.

    def training_rows(self, split: Split) -> Interactions:
        """The rows of the split that are trained on."""
        return split.train

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Further columns of the training rows; "users", "items" and "targets" are there already."""
        return {}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The learners by name; "rating" trains the model that predicts."""
        return {"rating": self._row_learner(self.model_, self.lr, self.l2)}

    def begin_epoch(self, epoch: int) -> None:
        """Called before every epoch (from 1)."""

    def warmup_epochs(self) -> int:
        """Epochs at the start during which the predicting model does not train."""
        return 0

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
        scale = self._l2_scale(len(batch), self.mean_weight_)
        return self.learners_["rating"].step(batch, batch["targets"], self.weights(batch), scale=scale)

    def epoch(self, loader: FlatLoader | BlockLoader, number: int) -> float:
        """The steps of an epoch; returns the mean of their losses."""
        if self.one_pass() and isinstance(loader, FlatLoader):
            learner = self.learners_["rating"]
            return float(learner.epoch(loader, number, lambda length: self._l2_scale(length, self.mean_weight_)))
        losses = [self.step(batch) for batch in loader.epoch(number)]
        return sum(torch.stack(losses).tolist()) / len(losses)

    # What every method does.

    def fit(
        self,
        split: Split,
        *,
        device: str | torch.device = "cpu",
        progress: Callable[[ProgressEvent], None] | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on a split.

        Args:
            split: a split of a Dataset.
            device: where to train; the fitted model comes back to the CPU.
            progress: called with a ProgressEvent after every epoch.
            checkpoint: folder for a checkpoint, written every few seconds; an older one there is replaced.
            resume: continue from that checkpoint, to the same bits as an uninterrupted fit.

        Raises:
            DebiasRecError: an option is out of range, the device cannot be used, or the split lacks what the method
                needs.
            DivergenceError: the loss stopped being finite.
            CheckpointError: the checkpoint belongs to other options, other data or another split.
        """
        check_split(split)
        check_options(self)
        check_device(device)
        # Until this fit has finished, the method counts as not fitted.
        self.__dict__.pop("history_", None)
        if resume and checkpoint is None:
            raise DebiasRecError("resume=True needs checkpoint=, the folder of the checkpoint to continue from")
        started = time.perf_counter()
        loader = self._start(split, device)
        validator = make_validator(split, self.encode, self.criterion, device)
        warmup = self.warmup_epochs()
        run = TrainingRun(
            max_epochs=self.max_epochs + warmup,
            patience=self.patience,
            higher_is_better=self.criterion == "auc",
            warmup_epochs=warmup,
            advice={"lr": self.lr, "optimizer": self.optimizer, "reduction": self.reduction},
        )
        task = MethodTask(self, loader, validator)
        folder = None if checkpoint is None else Path(checkpoint)
        identity = self._identity(split) if folder else None
        train(task, run, progress=progress, checkpoint=folder, identity=identity, resume=resume)
        self._finish(run, time.perf_counter() - started)
        return self

    def _start(self, split: Split, device: str | torch.device) -> FlatLoader | BlockLoader:
        data = split.dataset
        rows = self.training_rows(split)
        if not len(rows):
            raise DebiasRecError(f"method {self.name}: the split {split.name!r} has no rows to train on")
        self.threshold_ = float(data.threshold)
        self.catalogue_ = serving.Catalogue.of(split)
        self.n_users_, self.n_items_, self.n_rows_ = data.n_users, data.n_items, len(rows)
        self.mean_weight_ = 1.0
        targets = self.encode(rows.ratings)
        arrays = {"users": rows.users, "items": rows.items, "targets": targets, **self.prepare(split, rows)}
        columns = {name: torch.tensor(array, device=device) for name, array in arrays.items()}
        self.offset_ = float(np.mean(targets, dtype=np.float64)) if self.target == "stars" else 0.0
        self.model_ = self._model(self.factors, 0, device, self.offset_)
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

    def _model(self, factors: int, stream: int, device: str | torch.device, offset: float = 0.0) -> MatrixFactorization:
        seed = (self.seed, 0, stream)
        return MatrixFactorization(self.n_users_, self.n_items_, factors, seed=seed, offset=offset, device=device)

    def _row_learner(self, model: MatrixFactorization, lr: float, l2: float) -> RowLearner:
        options = {"optimizer": self.optimizer, "l2_rows": self.l2_rows, "reduction": self.reduction}
        return RowLearner(model, lr=lr, l2=l2, **options)

    def _loss_learner(self, model: MatrixFactorization, lr: float, l2: float) -> LossLearner:
        return LossLearner(model, optimizer=self.optimizer, lr=lr, l2=l2, l2_rows=self.l2_rows)

    def _l2_scale(self, rated: float, mean_weight: float) -> float:
        """The factor of the L2 term beside the errors of `rated` pairs with weights of that mean."""
        return 1.0 if self.reduction == "sum" else mean_weight / max(rated, 1.0)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        for learner in self.learners_.values():
            learner.model.to_("cpu")
        del self.learners_
        self.history_ = pd.DataFrame(run.history, columns=["epoch", "loss", "validation", "seconds"])
        self.history_["validation"] = self.history_["validation"].astype(float)
        self.best_epoch_ = run.early_stopping.best_epoch or run.epoch
        self.stopped_by_ = run.stopped_by
        self.fit_seconds_ = seconds

    def _identity(self, split: Split) -> dict[str, Any]:
        return {
            "method": self.name,
            **persistence.plain_params(self),
            "data fingerprint": split.dataset.fingerprint(),
            "split": split.name,
            "split seed": split.seed,
        }

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of pairs, float32 [n].

        Args:
            users, items: integer [n], inside indices.

        Raises:
            ValueError: not integers, or vectors of unequal length.
            IndexError: an index is out of range.
        """
        check_is_fitted(self, "history_")
        pair = [torch.tensor(as_indices(column, name)) for name, column in (("users", users), ("items", items))]
        with torch.no_grad():
            return self.model_.score(*pair).numpy()

    def encode(self, ratings: np.ndarray) -> np.ndarray:
        """Ratings in stars as the targets this method trains on, float32 [n]."""
        check_is_fitted(self, "threshold_")
        stars = np.asarray(ratings, dtype=np.float32)
        if self.target == "stars":
            return stars
        positive = (stars >= self.threshold_).astype(np.float32)
        return positive if self.target == "binary" else 2.0 * positive - 1.0

    def recommend(self, users: Any, k: int = 10) -> pd.DataFrame:
        """The k best items of each user that the user has not rated in training.

        A known user without a training rating is ranked by the item biases and the user's initial factors.

        Args:
            users: outside user ids (one id, or a sequence).
            k: items per user; fewer where a user has fewer unseen items.

        Returns:
            DataFrame user, item (outside ids), score, rank (from 1).

        Raises:
            DebiasRecError: an unknown user, or k < 1.
        """
        check_is_fitted(self, "history_")
        return serving.recommend(self.model_, self.catalogue_, users, k)

    def save(self, directory: str | Path) -> Path:
        """Write the fitted model as one safetensors file with JSON in its header; returns the file."""
        check_is_fitted(self, "history_")
        return persistence.save(self, Path(directory))
