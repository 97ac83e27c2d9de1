"""A method as the training loop sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

import debias_ext
from debiasrec.training.click_validation import ClickValidator
from debiasrec.training.loader import BlockLoader, FlatLoader
from debiasrec.training.validation import Validator

if TYPE_CHECKING:
    from debiasrec.methods.looped import Looped


class MethodTask:
    """The `Task` of a method: its epochs, its validation, and the tensors that a checkpoint and early stopping keep."""

    def __init__(
        self, method: Looped, loader: FlatLoader | BlockLoader, validator: Validator | ClickValidator | None
    ) -> None:
        self._method = method
        self._loader = loader
        self._validator = validator

    def epoch(self, number: int) -> float:
        self._method.begin_epoch(number)
        # The loaders hand out checked data: no synchronisation a step to check it again.
        with debias_ext.trusted_values():
            return self._method.epoch(self._loader, number)

    def validation(self) -> float | None:
        return None if self._validator is None else self._validator(self._method.validation_scores)

    def tensors(self) -> dict[str, Tensor]:
        parts = [prefixed(name, learner.tensors()) for name, learner in self._method.learners_.items()]
        return {name: tensor for part in parts for name, tensor in part.items()}

    def best_tensors(self) -> dict[str, Tensor]:
        return self._method.best_tables()


def prefixed(learner: str, tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tables by the name of their learner and their own."""
    return {f"{learner}.{name}": table for name, table in tables.items()}
