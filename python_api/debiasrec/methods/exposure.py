"""Click models corrected by the exposure of a Poisson factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.methods.clicks import ClickBatch, OnBase, cross_entropy
from debiasrec.methods.options import number, whole
from debiasrec.propensity.poisson import PoissonFactors, poisson_factorization

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.models.clicks import Encoded


@dataclass(kw_only=True, eq=False, repr=False)
class WithExposure(OnBase):
    """A method with a Poisson factorisation of the training clicks.

    Args:
        exposure_factors: length of its factors.

    Attributes (after fit):
        exposure_: the fitted factors.
    """

    exposure_factors: int = whole(10)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the exposure."""
        data, seed = split.dataset, self.seed
        options = {"factors": self.exposure_factors, "seed": seed}
        self.exposure_: PoissonFactors = poisson_factorization(split.train, data.n_users, data.n_items, **options)
        return {}


@dataclass(kw_only=True, eq=False, repr=False)
class CausalRec(WithExposure):
    """BCE with clicks weighted by 1 / max(P(exposed), clip_min), P = 1 - exp(-pi_u . lambda_i).

    The weights of the clicks of a step are divided by their mean; items that were drawn weigh 1.

    Args:
        clip_min: least P(exposed).

    Source: Liang, Charlin and Blei, Causal Inference for Recommendation, UAI workshop 2016.
    """

    name: ClassVar[str] = "causalrec"
    summary: ClassVar[str] = "clicks weighted by the inverse exposure of a Poisson factorisation"
    source: ClassVar[str] = "Liang et al., Causal Inference for Recommendation, 2016"

    clip_min: float = number(0.1, above=0, most=1)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the exposure, on the device."""
        super().prepare(split, device)
        sides = (self.exposure_.users, self.exposure_.items)
        self._factors = tuple(torch.from_numpy(side).to(device) for side in sides)
        return {}

    def weights(self, batch: ClickBatch) -> Tensor:
        """The weights of the samples, [B]."""
        users, items = self._factors
        rates = (users[batch.samples.users] * items[batch.samples.items]).sum(1)
        inverse = 1.0 / -torch.expm1(-rates).clamp(max=1.0)
        inverse = inverse.clamp(max=1.0 / self.clip_min)
        clicked = batch.labels > 0
        return torch.where(clicked, inverse / inverse[clicked].mean(), 1.0)


@dataclass(kw_only=True, eq=False, repr=False)
class DeRec(WithExposure):
    """BCE of the logit z + gamma_u a_ui with the substitute confounder a_ui = pi_u . lambda_i, held fixed.

    Args:
        confounder_l2: coefficient of half the mean of gamma_u^2 over the samples.

    Source: Wang et al., Causal Inference for Recommender Systems (deconfounded recommender), RecSys 2020, section 3;
        there z is a factorisation of ratings.
    """

    name: ClassVar[str] = "derec"
    summary: ClassVar[str] = "deconfounded recommender: the expected exposure joins the logit, by user"
    source: ClassVar[str] = "Wang et al., Causal Inference for Recommender Systems, RecSys 2020"

    confounder_l2: float = number(0.01, least=0)

    def confounder(self) -> tuple[np.ndarray, np.ndarray]:
        """The factors of the exposure."""
        return self.exposure_.users, self.exposure_.items

    def loss(self, batch: ClickBatch, encoded: Encoded) -> Tensor:
        """The cross-entropy and the penalty of gamma."""
        penalty = self.model_.confounder_weight[batch.samples.users].square().mean()
        return cross_entropy(encoded.logits, batch.labels) + 0.5 * self.confounder_l2 * penalty
