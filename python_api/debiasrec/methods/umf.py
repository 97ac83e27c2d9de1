"""Clicks under a given exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.implicit import BIIF, Implicit
from debiasrec.methods.trained import Learner
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class UMF(Implicit):
    """The likelihood of clicks R under relevance p = sigmoid(s) and exposure x = m[i], the popularity of the item.

        L = mean of -R log(x p) - (1 - R) log(1 - x p)

    Source: the baseline UMF of Biif, its training loss with a fixed exposure.
    """

    name: ClassVar[str] = "umf"
    summary: ClassVar[str] = "likelihood of clicks under relevance and popularity as exposure"
    source: ClassVar[str] = BIIF

    def item_columns(self) -> dict[str, np.ndarray]:
        """The exposures."""
        return {"exposures": self.popularity_.astype(np.float32)}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner by fused steps."""
        return {"rating": self._row_learner(self.model_, self.lr, self.l2, "exposure")}

    def loss(self, batch: Batch) -> Tensor:
        """The negative log-likelihood of the batch."""
        scores = self.model_.score(batch.users, batch.items)
        return debias_ext.exposure_loss(scores, batch["targets"], batch["exposures"], reduction=self.reduction)
