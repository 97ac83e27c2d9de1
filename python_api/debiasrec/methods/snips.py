"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

import debias_ext
from debiasrec.methods.ips import IPS
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class SNIPS(IPS):
    """Weighted errors over the sum of the weights: sum((s - t)^2 / q) / sum(1 / q).

    With the full-data normaliser the step sees (N / B) sum_batch(e / q) / Z, Z = sum of 1/q over all N training rows:
    an unbiased step towards the self-normalised loss, on the scale of an unweighted mean whatever the propensities are.
    The batch normaliser divides by the sum of the batch's own weights.

    Args:
        normaliser: "full" or "batch".

    Source: Swaminathan and Joachims, NeurIPS 2015, eq (4); Schnabel et al., ICML 2016, section 3.
    """

    name: ClassVar[str] = "snips"
    summary: ClassVar[str] = "self-normalised inverse propensity scoring"
    source: ClassVar[str] = "Swaminathan and Joachims, The Self-Normalized Estimator, NeurIPS 2015"

    normaliser: str = "full"

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """Propensities, and their full-data normaliser."""
        columns = super().prepare(split, rows)
        weights = 1.0 / columns["propensities"].astype(np.float64)
        self.mean_weight_ = 1.0
        self.normaliser_ = (float(weights.sum()), len(weights)) if self.normaliser == "full" else None
        return columns

    def loss(self, batch: Batch) -> Tensor:
        """The self-normalised error; the summed reduction multiplies it by the batch size."""
        scores = self.model_.score(batch.users, batch.items)
        loss = debias_ext.snips_loss(scores, batch["targets"], batch["propensities"], normaliser=self.normaliser_)
        return loss * len(batch) if self.reduction == "sum" else loss
