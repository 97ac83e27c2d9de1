"""AutoDebias on clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from debiasrec.data.clicks import surely_seen
from debiasrec.methods.autodebias import AutoDebias
from debiasrec.methods.implicit import positives
from debiasrec.methods.options import choice
from debiasrec.methods.trained import Learner
from debiasrec.training.learner import TableLearner

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class AutoDebiasImplicit(AutoDebias):
    """`AutoDebias` on positive ratings alone, taught by pairs that were surely seen in place of uniform ones.

    A negative rating counts as a missing pair, w1 = exp((a[u] + b[i]) / 5) has no label; of the imputed values those of
    missing and of positive pairs are learned.

    Args:
        negatives: from which pairs the negative ones of `debiasrec.data.clicks.surely_seen` are chosen, "rated" or
            "all".

    Source: Chen et al., AutoDebias, SIGIR 2021, its variant for implicit feedback; the pairs are those of Biif.
    """

    name: ClassVar[str] = "autodebias_implicit"
    summary: ClassVar[str] = "AutoDebias on clicks, taught by pairs that were surely seen; no uniform ratings"
    needs_uniform: ClassVar[bool] = False

    target: str = choice("signed", "signed", "binary")
    negatives: str = choice("rated", "rated", "all")

    def training_rows(self, split: Split) -> Interactions:
        """The positive rows."""
        return positives(split)

    def upper_rows(self, split: Split) -> Interactions:
        """The seen pairs."""
        return surely_seen(split, unrated=self.negatives == "all")

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """Those of AutoDebias, w1 without its label."""
        learners = super().learners(device)
        tables = self.w1_.tables()
        with torch.no_grad():
            tables.pop("label_table").zero_()
        return {**learners, "w1": TableLearner(tables, lr=self.w1_lr, weight_decay=self.w1_decay)}
