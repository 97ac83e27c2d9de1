"""The training loop and its parts: loaders, optimisers, early stopping, checkpoints."""

from __future__ import annotations

from debiasrec.training.early_stopping import EarlyStopping
from debiasrec.training.learner import ClickLearner, LossLearner, RowLearner, TableLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader
from debiasrec.training.loop import DivergenceError, ProgressEvent, TrainingRun, train
from debiasrec.training.optimizer import SGD, Adagrad, Adam, make_optimizer
from debiasrec.training.validation import Validator, make_validator

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Batch",
    "BlockLoader",
    "ClickLearner",
    "DivergenceError",
    "EarlyStopping",
    "FlatLoader",
    "LossLearner",
    "ProgressEvent",
    "RowLearner",
    "TableLearner",
    "TrainingRun",
    "Validator",
    "make_optimizer",
    "make_validator",
    "train",
]
