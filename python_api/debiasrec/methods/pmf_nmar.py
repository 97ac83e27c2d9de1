"""Ordinal matrix factorisation with a model of which ratings are missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from debiasrec.errors import DebiasRecError
from debiasrec.methods.mf import rated_rows
from debiasrec.methods.options import number, whole
from debiasrec.methods.trained import Learner, Trained
from debiasrec.models import Model, OrdinalFactorization, UnratedPairs
from debiasrec.models.initial import normal
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch
from debiasrec.training.loop import TrainingRun

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class PMFNMAR(Trained):
    """Ratings from an ordered probit, and a logistic model of who shows which rating of what.

        P(r = l) = Phi(b_l - s) - Phi(b_(l-1) - s),
        P(o = 1 | r = l) = sigmoid(z_l + alpha[u, l] + psi[i, l] + E_u.F_i),

    fitted by the mean over the rated pairs of -log P(r) - log P(o = 1 | r), plus the unrated pairs over the rated ones
    times the mean over sampled unrated pairs of -log sum_l P(r = l) (1 - P(o = 1 | r = l)), plus L2 terms. Uniform
    training ratings, where there are any, give -log P(r) alone: their observation was randomised. Scores are expected
    ratings in the coding of `target`. The published model integrates over its parameters; this is their mode.

    Args:
        observation_factors: length of E_u and F_i; 0 leaves them out.
        observation_l2: coefficient of half the squared norm of alpha, psi, E and F beside the summed log losses.

    Source: Hernandez-Lobato, Houlsby and Ghahramani, Probabilistic Matrix Factorization with Non-random Missing Data,
        ICML 2014, section 2.
    """

    name: ClassVar[str] = "pmf_nmar"
    summary: ClassVar[str] = "ordinal matrix factorisation with a logistic model of the missing ratings"
    model_class: ClassVar[type[Model]] = OrdinalFactorization
    source: ClassVar[str] = "Hernandez-Lobato et al., PMF with Non-random Missing Data, ICML 2014"

    observation_factors: int = whole(2, least=0)
    observation_l2: float = number(1.0, least=0)

    def check_combination(self) -> None:
        """The likelihood is a mean over flat batches."""
        super().check_combination()
        for option, needed in (("batching", "flat"), ("reduction", "mean")):
            if getattr(self, option) != needed:
                raise DebiasRecError(f'{self.name}: {option} must be "{needed}", got {getattr(self, option)!r}')

    def training_rows(self, split: Split) -> Interactions:
        """The biased training part, and the uniform one after it where there is one."""
        return rated_rows(split)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The level of each rating, and which pairs are biased."""
        self._values, levels = np.unique(rows.ratings, return_inverse=True)
        if len(self._values) < 2:
            raise DebiasRecError(f"{self.name} needs two values among the ratings, all are {self._values[0]:g}")
        self._shares = np.bincount(levels.ravel())
        self._unrated = UnratedPairs(rows.users, rows.items, self.n_users_, self.n_items_, self.seed)
        return {"levels": levels.ravel(), "biased": np.arange(len(rows)) < len(split.train)}

    def begin_epoch(self, epoch: int) -> None:
        """The unrated pairs of an epoch depend on the seed and the epoch alone."""
        self._unrated.begin_epoch(epoch)

    def one_pass(self) -> bool:
        """No squared errors."""
        return False

    def _base_model(self, device: str | torch.device) -> Model:
        values = [float(value) for value in self.encode(self._values)]
        options = {"values": values, "shares": self._shares.tolist(), "seed": (self.seed, 0, 0), "device": device}
        return OrdinalFactorization(self.n_users_, self.n_items_, self.factors, **options)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The rating model and the observation model."""
        table = partial(normal, np.random.default_rng((self.seed, 0, 1)), device=device)
        levels, rank = len(self._values), self.observation_factors
        density = self._density()
        self.observation_ = {
            "level": torch.full((levels,), float(np.log(density / (1 - density))), device=device, requires_grad=True),
            "user": table(0.0, self.n_users_, levels),
            "item": table(0.0, self.n_items_, levels),
            "user_factors": table(0.1, self.n_users_, rank),
            "item_factors": table(0.1, self.n_items_, rank),
        }
        decay = self.observation_l2 / self.n_rows_
        options: Any = {"optimizer": self.optimizer, "lr": self.lr}
        level = {"level": self.observation_["level"]}
        others = {name: table for name, table in self.observation_.items() if name != "level"}
        return {
            "rating": self._loss_learner(self.model_, self.lr, self.l2),
            "level": TableLearner(level, **options),
            "observation": TableLearner(others, weight_decay=decay, **options),
        }

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """The logit of P(o = 1 | r = l) for every level, [B, L]."""
        tables = self.observation_
        user, item = tables["user"].index_select(0, users), tables["item"].index_select(0, items)
        pairs = tables["user_factors"].index_select(0, users) * tables["item_factors"].index_select(0, items)
        return tables["level"] + user + item + pairs.sum(1, keepdim=True)

    def loss(self, batch: Batch) -> Tensor:
        """The negative log likelihood over the number of rated pairs."""
        level = batch["levels"][:, None]
        rated = self.model_.log_probabilities(batch.users, batch.items).gather(1, level)[:, 0]
        shown = logsigmoid(self.logits(batch.users, batch.items).gather(1, level)[:, 0])
        pairs = self._unrated.draw(len(batch), batch.users.device)
        hidden = torch.logsumexp(self.model_.log_probabilities(*pairs) - softplus(self.logits(*pairs)), 1)
        ratio = len(self._unrated) / self.n_rows_
        return -(rated + shown * batch["biased"] + ratio * hidden).mean()

    def step(self, batch: Batch) -> Tensor:
        """One step of both models."""
        loss = self.loss(batch)
        observation = [self.learners_[name] for name in ("level", "observation")]
        tables = [table for learner in observation for table in learner.tables.values()]
        gradients = iter(torch.autograd.grad(loss, tables, retain_graph=True))
        self.learners_["rating"].update(loss, batch, scale=self._l2_scale(len(batch), 1.0))
        for learner in observation:
            learner.step([next(gradients) for _ in learner.tables])
        return loss.detach()

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._unrated
