"""Relevance and exposure that teach each other across parts of the clicks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debiasrec.data.validation import as_indices
from debiasrec.errors import DebiasRecError
from debiasrec.methods.implicit import Implicit
from debiasrec.methods.options import choice, number, whole
from debiasrec.methods.task import prefixed
from debiasrec.methods.trained import Learner
from debiasrec.models import Model, StackedExposure, StackedFactors
from debiasrec.training.learner import RowLearner, TableLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun

BOUNDS = (0.01, 0.99)  # of the estimates


@dataclass(kw_only=True, eq=False, repr=False)
class CJMF(Implicit):
    """C models of relevance p and exposure x, each trained on all parts of the clicks but its own.

    For part c the estimates p^, x^ of its pairs come from model c, which never saw them (of other pairs, from all
    models: the mean), and every other model steps down, with R the clicks of the part and 0 for sampled pairs,

        -R/x^ log p - (1 - R/x^) log(1-p)      for its factors, p = sigmoid(P[u].Q[i]),
        -R/p^ log x - (1 - R/p^) log(1-x)      for its exposure, x as in `debiasrec.models.stacked.StackedExposure`.

    After all parts every model has corrections to both, trained on all clicks by -R log(p x) - (1-R) log(1 - p x),
    where the other factor is the estimate. The score is the mean over the models of the corrected p. A step takes the
    batch through all models at once, with one optimiser: its clock counts the steps of all, and the exposure of model c
    goes on to decay.

    Args:
        copies: C, the number of models and of parts.
        per_positive: sampled pairs for a click; no click of the part is drawn.
        batch_size: pairs a step of each model.
        optimizer: of the factors: "lazy_adam" (Adam of the rows of the batch) or "adam".
        l2: coefficient of half the squared norm of the rows of the batch, over its size; half of it for the corrected
            factors.
        exposure_decay: weight decay of the exposure models, half of it for their corrections.
        residual_lr: learning rate of the corrections.

    Attributes (after fit):
        base_, exposure_: the models without corrections.

    Source: Zhu et al., Unbiased Implicit Recommendation and Propensity Estimation via Combinational Joint Learning,
        RecSys 2020, algorithm 1. The public program decays corrections where this decays corrected factors, and all
        rows where this decays those of the batch.
    """

    name: ClassVar[str] = "cjmf"
    summary: ClassVar[str] = "models of relevance and exposure that teach each other across parts of the clicks"
    source: ClassVar[str] = "Zhu et al., Unbiased Implicit Recommendation and Propensity Estimation, RecSys 2020"

    model_class: ClassVar[type[Model]] = StackedFactors

    negatives: str = choice("sampled", "sampled")
    copies: int = whole(8, least=2)
    factors: int = whole(100)
    batch_size: int = whole(896)
    lr: float = number(1e-3, above=0)
    l2: float = number(0.05, least=0)
    optimizer: str = choice("lazy_adam", "lazy_adam", "adam")
    reduction: str = choice("mean", "mean")
    exposure_decay: float = number(11.0, least=0)
    residual_lr: float = number(1e-3 / 13, above=0)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The parts of the clicks, and the popularity in the exposure."""
        if len(rows) < self.copies:
            raise DebiasRecError(f"{self.name}: copies={self.copies} needs as many clicks, got {len(rows)}")
        self._parts = _Parts(rows, self.copies, (self.n_users_, self.n_items_), (self.seed, 2))
        counts = np.bincount(rows.items, minlength=self.n_items_) + 1.0
        self._prior = counts / counts.max()
        return super().prepare(split, rows)

    def _base_model(self, device: str | torch.device) -> StackedFactors:
        shape = (self.copies, self.n_users_, self.n_items_, self.factors)
        self.base_ = StackedFactors(*shape, seed=(self.seed, 0, 0), device=device)
        return StackedFactors(*shape, seed=(self.seed, 0, 0), device=device)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The corrected factors, those without corrections, the exposures, and their corrections."""
        exposure, residual = (StackedExposure(self.copies, self.factors, self._prior, device=device) for _ in range(2))
        self.exposure_, self._residual = exposure, residual
        factors = {"optimizer": self.optimizer, "l2_rows": "touched", "reduction": "sum"}
        decay = self.exposure_decay
        return {
            "rating": RowLearner(self.model_, lr=self.residual_lr, l2=self.l2 / 2, loss="exposure", **factors),
            "base": RowLearner(self.base_, lr=self.lr, l2=self.l2, loss="relmf", **factors),
            "exposure": TableLearner(exposure.tables(), lr=self.lr, weight_decay=decay),
            "residual": TableLearner(residual.tables(), lr=self.residual_lr, weight_decay=decay / 2),
        }

    def best_tables(self) -> dict[str, Tensor]:
        """Of the model that predicts, and of those that the exposures come from."""
        base, exposure = prefixed("base", self.base_.tables()), prefixed("exposure", self.exposure_.tables())
        return super().best_tables() | base | exposure

    def epoch(self, loader: FlatLoader | BlockLoader, number: int) -> float:
        """The parts in random order, then the corrections; returns the mean loss of a model with its corrections."""
        generator = np.random.default_rng((self.seed, 3, number))
        before = [table.detach().clone() for table in self.base_.tables().values()]
        device = self.base_.user_factors.device
        for part in generator.permutation(self.copies):
            others = torch.tensor([copy for copy in range(self.copies) if copy != part], device=device)
            for batch in self._batches(self._parts.draw(part, self.per_positive, number, device), generator):
                self._base_step(batch, others)
        with torch.no_grad():
            for old, new, both in zip(before, self.base_.tables().values(), self.model_.tables().values(), strict=True):
                both += new - old
        columns = self._with_negatives(loader.columns, number)
        every = torch.arange(self.copies, device=device)
        losses = [self._residual_step(batch, every) for batch in self._batches(columns, generator)]
        return sum(torch.stack(losses).tolist()) / len(losses)

    def _batches(self, columns: dict[str, Tensor], generator: np.random.Generator) -> Iterator[Batch]:
        """Shuffled batches with the columns "relevance" and "seen": the estimates before the first of them."""
        users, items = columns["users"], columns["items"]
        relevance, seen = self.estimates(users, items)
        columns = {**columns, "relevance": relevance, "seen": seen}
        loader = FlatLoader(columns, batch_size=self.batch_size, seed=int(generator.integers(2**62)))
        return loader.epoch(1)

    @torch.no_grad()
    def estimates(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """p^ and x^ of pairs, [B] each: of model c for a click of part c, else the mean of all."""
        part = self._parts.of(users, items)
        found = (self.base_.each(users, items), self._exposures(items))
        own = [each.gather(0, part.clamp(min=0)[None])[0] for each in found]
        chosen = [torch.where(part >= 0, mine, each.mean(0)) for mine, each in zip(own, found, strict=True)]
        return chosen[0].clamp(*BOUNDS), chosen[1].clamp(*BOUNDS)

    def _exposures(self, items: Tensor) -> Tensor:
        copies = torch.arange(self.copies, device=items.device)
        return torch.sigmoid(self._logits(items, copies, None)).reshape(self.copies, -1)

    def _logits(self, items: Tensor, copies: Tensor, plus: StackedExposure | None) -> Tensor:
        """The logits of the exposures of the copies, copy by copy: made once an item, then handed to its pairs."""
        distinct, place = torch.unique(items, return_inverse=True)
        count, width = len(copies), len(distinct)
        rows, which = self.base_.rows(distinct, distinct, copies)[1], copies.repeat_interleave(width)
        factors = self.base_.item_factors.detach()
        table = self.exposure_.logits(factors, rows, distinct.repeat(count), which, plus)
        index = (torch.arange(count, device=items.device)[:, None] * width + place).flatten()
        # Scores without factors: a gather whose gradient is summed in a fixed order.
        none = factors.new_empty(len(table), 0)
        return debias_ext.mf_score(none, none, index, index, table)

    def _base_step(self, batch: Batch, copies: Tensor) -> None:
        wide = self._widen(batch, self.base_, copies, exposures=batch["seen"])
        size, clicks = len(batch), wide["targets"]
        self.learners_["base"].step(wide, clicks, wide["weights"], scale=1 / size)
        logits = self._logits(batch.items, copies, None)
        relevance = batch["relevance"].repeat(len(copies))
        loss = debias_ext.relmf_loss(logits, clicks, relevance, form="log", reduction="sum") / size
        self._descend("exposure", self.exposure_, loss)

    def _residual_step(self, batch: Batch, copies: Tensor) -> Tensor:
        wide = self._widen(batch, self.model_, copies, exposures=batch["seen"])
        size, clicks = len(batch), wide["targets"]
        value = self.learners_["rating"].step(wide, clicks, wide["weights"], scale=1 / size)
        logits = self._logits(batch.items, copies, self._residual)
        relevance = batch["relevance"].repeat(len(copies))
        loss = debias_ext.exposure_loss(logits, clicks, relevance, reduction="sum") / size
        self._descend("residual", self._residual, loss)
        return value / len(copies)

    def _descend(self, name: str, model: StackedExposure, loss: Tensor) -> None:
        self.learners_[name].step(torch.autograd.grad(loss, list(model.tables().values())))

    @staticmethod
    def _widen(batch: Batch, model: StackedFactors, copies: Tensor, exposures: Tensor) -> Batch:
        """The batch once for every one of the copies; the weights make sums over it means."""
        users, items = model.rows(batch.users, batch.items, copies)
        count = len(copies)
        columns = {
            "targets": batch["targets"].repeat(count),
            "exposures": exposures.repeat(count),
            "weights": torch.full((len(users),), 1 / len(batch), device=users.device),
        }
        return Batch(users, items, columns, None, batch.generator)

    @torch.no_grad()
    def predict_exposure(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Mean over the models of the exposure without corrections, float32 [n].

        Args:
            users, items: integer [n], inside indices.
        """
        as_indices(users, "users")
        return self._exposures(torch.tensor(as_indices(items, "items"))).mean(0).numpy()

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        self.exposure_.to_("cpu")
        del self._parts, self._residual, self._prior


class _Parts:
    """The clicks cut at random into parts of equal size.

    Args:
        rows: the clicks.
        count: how many parts.
        shape: numbers of users and items.
        seed: of the cut.
    """

    def __init__(self, rows: Interactions, count: int, shape: tuple[int, int], seed: tuple[int, ...]) -> None:
        self._n_items = shape[1]
        order = np.argsort(rows.pairs(shape[1]))
        self._rows = rows.take(order)
        generator = np.random.default_rng(seed)
        self._part = generator.permutation(len(rows)) % count
        self._clicks = [self._rows.take(self._part == part) for part in range(count)]
        self._others = [self._sampler(own, shape, int(generator.integers(2**62))) for own in self._clicks]

    def of(self, users: Tensor, items: Tensor) -> Tensor:
        """The part of each pair, int64 [B], -1 for one that is no click."""
        keys, pairs = self._rows.pairs(self._n_items), (users * self._n_items + items).cpu().numpy()
        places = np.minimum(np.searchsorted(keys, pairs), len(keys) - 1)
        return torch.from_numpy(np.where(keys[places] == pairs, self._part[places], -1)).to(users.device)

    @staticmethod
    def _sampler(own: Interactions, shape: tuple[int, int], seed: int) -> debias_ext.PairSampler:
        pairs = torch.tensor(own.users), torch.tensor(own.items)
        return debias_ext.PairSampler(*pairs, n_users=shape[0], n_items=shape[1], seed=seed)

    def draw(self, part: int, per_positive: int, epoch: int, device: torch.device) -> dict[str, Tensor]:
        """The clicks of a part, and so many drawn pairs for each that are no clicks of it: users, items, targets."""
        own, sampler = self._clicks[part], self._others[part]
        count = per_positive * len(own)
        sampler.load_state_dict({**sampler.state_dict(), "position": (epoch - 1) * count})
        drawn = [side.to(device) for side in sampler.unobserved(count)]
        targets = torch.zeros(len(own) + count, device=device)
        targets[: len(own)] = 1.0
        users, items = (
            torch.cat([torch.tensor(side, device=device), more])
            for side, more in zip((own.users, own.items), drawn, strict=True)
        )
        return {"users": users, "items": items, "targets": targets}
