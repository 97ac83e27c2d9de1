"""What the methods share that train by gradient steps on the one loop."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from debiasrec.methods.base import Method
from debiasrec.methods.hyperparameters import LoopParameters
from debiasrec.methods.task import MethodTask, prefixed
from debiasrec.training.learner import ClickLearner, LossLearner, RowLearner, TableLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader
from debiasrec.training.loop import ProgressEvent, TrainingRun, train
from debiasrec.training.validation import higher_is_better, make_validator

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split

Learner = RowLearner | LossLearner | TableLearner | ClickLearner


@dataclass(kw_only=True, eq=False, repr=False)
class Looped(LoopParameters, Method):
    """A method trained in epochs of gradient steps: it states how training starts and what one step does."""

    # What such a method defines.

    @abstractmethod
    def _start(self, split: Split, device: str | torch.device) -> FlatLoader | BlockLoader:
        """Make `model_` and `learners_`; returns the loader of the training rows."""

    @abstractmethod
    def step(self, batch: Batch) -> Tensor:
        """One update on a batch; returns the loss, detached."""

    def begin_epoch(self, epoch: int) -> None:
        """Called before every epoch (from 1)."""

    def warmup_epochs(self) -> int:
        """Epochs at the start during which the predicting model does not train."""
        return 0

    def unwatched_epochs(self) -> int:
        """Epochs at the start that early stopping does not look at; by default those of the warm-up."""
        return self.warmup_epochs()

    def epoch(self, loader: FlatLoader | BlockLoader, number: int) -> float:
        """The steps of an epoch; returns the mean of their losses."""
        losses = [self.step(batch) for batch in loader.epoch(number)]
        return sum(torch.stack(losses).tolist()) / len(losses)

    def validation_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of validation rows as early stopping sees them, [n]."""
        return self.model_.score(users, items)

    def best_tables(self) -> dict[str, Tensor]:
        """What early stopping keeps and restores, live, named as by the learners: the tables of all that predicts."""
        return prefixed("rating", self.model_.tables())

    def _watched(self) -> str:
        """The criterion of early stopping."""
        return "auc"

    def _advice(self) -> dict[str, Any]:
        """Settings to name when training diverges."""
        return {"lr": self.lr, "optimizer": self.optimizer}

    # What every one of them does.

    def _fit(
        self,
        split: Split,
        device: str | torch.device,
        progress: Callable[[ProgressEvent], None] | None,
        checkpoint: Path | None,
        resume: bool,
    ) -> None:
        started = time.perf_counter()
        loader = self._start(split, device)
        validator = make_validator(split, self.encode, self._watched(), device)
        warmup = self.warmup_epochs()
        run = TrainingRun(
            max_epochs=self.max_epochs + warmup,
            patience=self.patience,
            higher_is_better=higher_is_better(self._watched()),
            warmup_epochs=self.unwatched_epochs(),
            advice=self._advice(),
        )
        task = MethodTask(self, loader, validator)
        identity = self._identity(split) if checkpoint else None
        train(task, run, progress=progress, checkpoint=checkpoint, identity=identity, resume=resume)
        self._finish(run, time.perf_counter() - started)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        for learner in self.learners_.values():
            learner.to_("cpu")
        del self.learners_
        self.history_ = pd.DataFrame(run.history, columns=["epoch", "loss", "validation", "seconds"])
        self.history_["validation"] = self.history_["validation"].astype(float)
        self.best_epoch_ = run.early_stopping.best_epoch or run.epoch
        self.stopped_by_ = run.stopped_by
        self.fit_seconds_ = seconds
