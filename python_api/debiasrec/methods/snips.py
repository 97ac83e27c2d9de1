"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.methods.ips import IPS
from debiasrec.methods.options import choice
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

    normaliser: str = choice("full", "full", "batch")

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The inverse propensities, over their mean with the full-data normaliser."""
        columns = super().prepare(split, rows)
        if self.normaliser == "full":
            columns["weights"] /= np.float32(self.mean_weight_)
        self.mean_weight_ = 1.0
        return columns

    def one_pass(self) -> bool:
        """The batch normaliser makes weights of every batch anew."""
        return self.normaliser == "full"

    def weights(self, batch: Batch) -> Tensor:
        """(1/q) over its mean: over all rows, or over the batch."""
        weights = batch["weights"]
        if self.normaliser == "full":
            return weights
        ones = torch.ones_like(weights)
        return weights / debias_ext.pointwise_loss(ones, 0 * ones, weights)
