"""Relevance and exposure learned from one loss: what bi-level steps are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.methods.biif import Biif
from debiasrec.methods.implicit import BIIF
from debiasrec.methods.learned_exposure import LearnedExposure
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class JointOpt(LearnedExposure):
    """Both models step down the likelihood of the clicks at once, from the same tables.

    Source: Biif, the comparison JointOpt.
    """

    name: ClassVar[str] = "joint_opt"
    summary: ClassVar[str] = "relevance and exposure of clicks, both by the same likelihood at once"
    source: ClassVar[str] = BIIF

    def step(self, batch: Batch) -> Tensor:
        """A step of both models."""
        exposures = self.exposures(batch)
        gradients = self.exposure_gradients(self.clicks_loss(batch, exposures))
        loss = self.rating_step(batch, exposures)
        self.learners_["exposure"].step(gradients)
        return loss


@dataclass(kw_only=True, eq=False, repr=False)
class AlterOpt(LearnedExposure):
    """The rating model steps down the likelihood of the clicks, then the exposure model, at the new relevance.

    Source: Biif, the comparison AlterOpt.
    """

    name: ClassVar[str] = "alter_opt"
    summary: ClassVar[str] = "relevance and exposure of clicks, in turns by the same likelihood"
    source: ClassVar[str] = BIIF

    def step(self, batch: Batch) -> Tensor:
        """A step of one model, then of the other."""
        loss = self.rating_step(batch, self.exposures(batch))
        self.learners_["exposure"].step(self.exposure_gradients(self.loss(batch)))
        return loss


@dataclass(kw_only=True, eq=False, repr=False)
class BiOpt2(Biif):
    """`Biif` whose upper loss is the lower one itself, after the assumed step: no pair counts as seen.

    The exposures are in the upper loss as well as in the step, with the item factors before it.

    Source: Biif, the comparison BiOpt2.
    """

    name: ClassVar[str] = "biopt2"
    summary: ClassVar[str] = "relevance and exposure of clicks by bi-level steps on the training pairs alone"

    def check_combination(self) -> None:
        """The upper loss holds the exposures of the tables before the step."""
        super().check_combination()
        if not self.detach_item:
            raise DebiasRecError(f"{self.name}: detach_item must be true, got {self.detach_item!r}")

    def upper_rows(self, split: Split) -> Interactions:
        """None: the batch is its own upper problem."""
        return split.train.take(slice(0))

    def upper(self, batch: Batch) -> dict[str, Any]:
        """The likelihood of the clicks."""
        return self.lower(batch)
