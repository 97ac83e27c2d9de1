"""Clicks over exposures as targets of relevance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.implicit import Implicit
from debiasrec.methods.options import choice, number
from debiasrec.methods.trained import Learner
from debiasrec.training.loader import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class RelMF(Implicit):
    """Inverse exposure weights for clicks, with the popularity m of the item, x = max(m[i], c), p = sigmoid(s).

        square:  L = mean of (R / x) (1 - p)^2 + (1 - R / x) p^2
        log:     L = mean of -(R / x) log p - (1 - R / x) log(1 - p)

    The loss of a click grows without bound below 0 in the log form where x < 1: it needs L2.

    Args:
        form: "square" or "log".
        clip_min: c.

    Source: Saito et al. 2020, eq (8); x as in section 5.1 there, counted on positive ratings.
    """

    name: ClassVar[str] = "relmf"
    summary: ClassVar[str] = "inverse exposure weights for clicks (relevance matrix factorisation)"
    source: ClassVar[str] = "Saito et al., Unbiased Recommender Learning from MNAR Implicit Feedback, WSDM 2020"

    form: str = choice("square", "square", "log")
    clip_min: float = number(0.01, above=0, most=1)

    def item_columns(self) -> dict[str, np.ndarray]:
        """The clipped exposures."""
        return {"exposures": np.maximum(self.popularity_, self.clip_min).astype(np.float32)}

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """One learner, by fused steps in the log form."""
        if self.form == "log":
            return {"rating": self._row_learner(self.model_, self.lr, self.l2, "relmf")}
        return {"rating": self._loss_learner(self.model_, self.lr, self.l2)}

    def one_pass(self) -> bool:
        """The log form has fused epochs."""
        return self.form == "log"

    def step(self, batch: Batch) -> Tensor:
        """A step down the loss."""
        if self.form == "log":
            return super().step(batch)
        loss = self.loss(batch)
        self.learners_["rating"].update(loss, batch, scale=self._l2_scale(len(batch), 1.0))
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The weighted loss of the batch."""
        scores = self.model_.score(batch.users, batch.items)
        columns = batch["targets"], batch["exposures"]
        return debias_ext.relmf_loss(scores, *columns, form=self.form, reduction=self.reduction)
