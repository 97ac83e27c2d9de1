"""Methods whose scores come from a neural factorisation machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from debiasrec.data.covariates import covariates
from debiasrec.errors import DebiasRecError
from debiasrec.methods.options import whole
from debiasrec.methods.trained import Trained
from debiasrec.models import NFM, Model
from debiasrec.training.loop import TrainingRun

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split


@dataclass(kw_only=True, eq=False, repr=False)
class Neural(Trained):
    """Puts `NFM` in the place of matrix factorisation, for a method that inherits from this class first.

    Args:
        hidden: width of the hidden layer.
    """

    model_class: ClassVar[type[Model]] = NFM

    hidden: int = whole(16)

    def check_combination(self) -> None:
        """Blocks stand on products of factors alone."""
        super().check_combination()
        if self.batching != "flat":
            raise DebiasRecError(f'{self.name}: batching must be "flat", got {self.batching!r}')

    def one_pass(self) -> bool:
        """No fused epochs."""
        return False

    def _describe(self, split: Split) -> None:
        super()._describe(split)
        self._covariates = covariates(split)

    def _model(self, factors: int, stream: int, device: str | torch.device, offset: float = 0.0) -> Any:
        seed = (self.seed, 0, stream)
        return NFM(*self._covariates, factors, self.hidden, seed=seed, offset=offset, device=device)

    def _row_learner(self, model: Any, lr: float, l2: float, loss: str = "mse") -> Any:
        return self._loss_learner(model, lr, l2)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._covariates
