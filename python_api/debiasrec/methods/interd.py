"""Interpolative distillation from a biased and a debiased teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import debias_ext
from debias_ext import InterDTarget
from debiasrec.errors import DebiasRecError
from debiasrec.methods.base import Method
from debiasrec.methods.distillation import frozen, start_from
from debiasrec.methods.interd_published import PublishedTargets, check_published_teacher
from debiasrec.methods.mf import rated_rows
from debiasrec.methods.options import choice, flag, number, teacher
from debiasrec.methods.trained import Learner, Trained
from debiasrec.models import Model, UnratedPairs
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split
    from debiasrec.training.loop import TrainingRun


@dataclass(kw_only=True, eq=False, repr=False)
class InterDO(Trained):
    """InterD without its missing pairs: a student of the rated pairs' interpolated targets, sum of (s - r*)^2.

    The target of a rated pair lies between the scores rb and rd of a biased and a debiased teacher,

        r* = w_b rb + (1 - w_b) rd,    w_b = sigmoid(gamma (log (rb - r)^2 - log (rd - r)^2)),

    nearer to the teacher that is nearer to the rating r. Rated are the biased and the uniform training rows. The
    teachers are frozen, so the targets are made once.

    Args:
        biased_teacher, debiased_teacher: names of methods, fitted with their presets and this seed, or methods.
        initial: where the student starts: at the "biased" or the "debiased" teacher (matrix factorisations with as many
            factors), or at "random" tables.
        gamma_observed: gamma, at most 0: the lower, the harder the choice; 0 takes the mean of the teachers.

    Attributes (after fit):
        biased_teacher_, debiased_teacher_: the fitted teachers.

    Source: Ding et al. 2022, eq (2)-(6); InterD-O of section 5.4.
    """

    name: ClassVar[str] = "interd_o"
    needs_uniform: ClassVar[bool] = True
    summary: ClassVar[str] = "InterD on the rated pairs alone"
    source: ClassVar[str] = "Ding et al., Interpolative Distillation, SIGIR 2022"
    rated_variant: ClassVar[str] = "soft"

    biased_teacher: str | Method = teacher("mf_combine")
    debiased_teacher: str | Method = teacher("autodebias")
    initial: str = choice("debiased", "biased", "debiased", "random")
    gamma_observed: float = number(-0.1, most=0)
    l2: float = number(0.1, least=0)

    def check_teacher(self, option: str, teacher: Method) -> None:
        """The student starts at a matrix factorisation."""
        if option == f"{self.initial}_teacher":
            super().check_teacher(option, teacher)

    def training_rows(self, split: Split) -> Interactions:
        """Biased and uniform training rows, concatenated."""
        return rated_rows(split)

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The targets of the rated pairs lie between the scores of the teachers."""
        return {"targets": self._rated_targets(rows)}

    def _rated_targets(self, rows: Interactions) -> np.ndarray:
        teachers = self.biased_teacher_, self.debiased_teacher_
        biased, debiased = (torch.from_numpy(method.predict(rows.users, rows.items)) for method in teachers)
        return self._between(rows, torch.tensor(self.encode(rows.ratings)), biased, debiased).numpy()

    def _between(self, rows: Interactions, ratings: Tensor, biased: Tensor, debiased: Tensor) -> Tensor:
        """r* of rated pairs."""
        scores = torch.zeros_like(ratings, requires_grad=True)
        options: Any = {"gamma": self.gamma_observed, "variant": self.rated_variant, "reduction": "sum"}
        loss = debias_ext.interd_loss(scores, biased, debiased, ratings, **options)
        # The slope of (s - r*)^2 at s = 0 is -2 r*.
        return torch.autograd.grad(loss, scores)[0] / -2

    def _base_model(self, device: str | torch.device) -> Model:
        model = self._model(self.factors, 0, device, self.offset_)
        if self.initial != "random":
            start_from(model, self.biased_teacher_ if self.initial == "biased" else self.debiased_teacher_, self)
        return model


@dataclass(kw_only=True, eq=False, repr=False)
class InterD(InterDO):
    """Interpolative distillation: one student for both tests, between a biased and a debiased teacher.

        L = mean over rated pairs of (s - r*)^2  +  beta mean over missing pairs of (s - r'*)^2,

    r* as in `InterDO`, and r'* alike with the student's own score, held constant, in place of the rating.
    reduction="sum" takes sums in place of the means. The missing pairs of a block are all visited, tile by tile, in one
    fused pass; flat batches estimate their mean from as many uniformly drawn missing pairs as they have rated ones.

    Args:
        gamma_missing: gamma of the missing pairs, at most 0.
        beta: weight of the missing pairs.
        published: measure the teachers as the public program does, with AutoDebias' weighted error on both its targets,
            and let the slope run through the targets of missing pairs; see `PublishedTargets`. Block batches only, and
            several times slower.

    Source: Ding et al. 2022, eq (2)-(9).
    """

    name: ClassVar[str] = "interd"
    summary: ClassVar[str] = "a student between a biased and a debiased teacher, on rated and missing pairs"
    needs_empty_blocks: ClassVar[bool] = True
    missing_variant: ClassVar[str] = "soft"

    gamma_missing: float = number(-1.0, most=0)
    beta: float = number(0.5, least=0)
    published: bool = flag(False)

    def check_combination(self) -> None:
        """The published targets are made of whole blocks."""
        super().check_combination()
        if self.published and self.batching != "block":
            raise DebiasRecError(f'{self.name}: published=True needs batching="block", got {self.batching!r}')

    def check_teacher(self, option: str, teacher: Method) -> None:
        """Blocks are products of factors; the published targets are those of AutoDebias."""
        if self.published and option == "debiased_teacher":
            check_published_teacher(teacher)
        if self.batching == "block":
            Trained.check_teacher(self, option, teacher)
        else:
            super().check_teacher(option, teacher)

    def takes_saved(self, option: str) -> bool:
        """The published targets need the weights of AutoDebias."""
        return not (self.published and option == "debiased_teacher")

    def prepare(self, split: Split, rows: Interactions) -> dict[str, np.ndarray]:
        """The targets of the rated pairs, and what draws missing ones."""
        self._unrated = UnratedPairs(rows.users, rows.items, self.n_users_, self.n_items_, self.seed)
        if self.published:
            options = {"hard": self.rated_variant == "hard", "from_zero": self.missing_variant == "zero"}
            self._published = PublishedTargets(self.debiased_teacher_, **options)
        return super().prepare(split, rows)

    def _between(self, rows: Interactions, ratings: Tensor, biased: Tensor, debiased: Tensor) -> Tensor:
        if not self.published:
            return super()._between(rows, ratings, biased, debiased)
        labels = torch.from_numpy(rows.ratings >= self.threshold_).long()
        pairs = torch.tensor(rows.users), torch.tensor(rows.items), labels
        return self._published.rated(pairs, ratings, biased, debiased, self.gamma_observed)

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """The student's."""
        self._teachers: Any = frozen(self.biased_teacher_, device), frozen(self.debiased_teacher_, device)
        return {"rating": self._loss_learner(self.model_, self.lr, self.l2)}

    def one_pass(self) -> bool:
        """Missing pairs take part in every step."""
        return False

    def begin_epoch(self, epoch: int) -> None:
        """The missing pairs of an epoch depend on the seed and the epoch alone."""
        self._unrated.begin_epoch(epoch)

    def step(self, batch: Batch) -> Tensor:
        """One step down `loss`."""
        loss = self.loss(batch)
        self.learners_["rating"].update(loss, batch, scale=self.batch_l2_scale(batch))
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the rated pairs and of the missing ones."""
        rated = self._expected_rated(batch)
        missing = self.n_users_ * self.n_items_ - self.n_rows_
        mean = self.reduction == "mean"
        beta = self.beta * self.n_rows_ / max(missing, 1) if mean else self.beta
        if batch.block is not None:
            total = self._block_loss(batch, beta)
        else:
            total = self._rated_loss(batch)
            if beta and missing > 0:
                total = total + beta * missing * rated / self.n_rows_ * self._sampled_loss(batch)
        return total / rated if mean else total

    def _block_loss(self, batch: Batch, beta: float) -> Tensor:
        users, items = batch.block  # type: ignore[misc]
        places, models = batch.places(self.n_users_, self.n_items_), (self.model_, *self._teachers)
        if self.published:
            grids = tuple(model.grid(users, items) for model in models)
            missing = self._published.missing_loss((users, items), grids, places, self.gamma_missing)
            return self._rated_loss(batch) + beta * missing
        student, biased, debiased = (model.block(users, items) for model in models)
        target = InterDTarget(biased, debiased, self.gamma_missing, beta, self.missing_variant)
        return debias_ext.block_loss(**student._asdict(), rated=(*places, batch["targets"]), unobserved=target)

    def _rated_loss(self, batch: Batch) -> Tensor:
        return self.model_.loss(batch.users, batch.items, batch["targets"], None, "sum")

    def _sampled_loss(self, batch: Batch) -> Tensor:
        """The mean over missing pairs, from as many as the batch has rated ones."""
        pairs = self._unrated.draw(len(batch), batch.users.device)
        student, biased, debiased = (model.score(*pairs) for model in (self.model_, *self._teachers))
        return debias_ext.interd_loss(student, biased, debiased, gamma=self.gamma_missing, variant=self.missing_variant)

    def _finish(self, run: TrainingRun, seconds: float) -> None:
        super()._finish(run, seconds)
        del self._unrated, self._teachers
        self.__dict__.pop("_published", None)


@dataclass(kw_only=True, eq=False, repr=False)
class InterDB(InterD):
    """InterD with a hard choice: the target is the nearer teacher's score, the mean of both on ties.

    The limit of InterD for gamma -> minus infinity, whatever the gammas are. Source: Ding et al. 2022, eq (11).
    """

    name: ClassVar[str] = "interd_b"
    summary: ClassVar[str] = "InterD with a hard choice between the teachers"
    rated_variant: ClassVar[str] = "hard"
    missing_variant: ClassVar[str] = "hard"


@dataclass(kw_only=True, eq=False, repr=False)
class InterDI(InterD):
    """InterD whose missing pairs measure the teachers against 0, not against the student: constant targets.

    Source: Ding et al. 2022, section 5.4.
    """

    name: ClassVar[str] = "interd_i"
    summary: ClassVar[str] = "InterD with constant targets for the missing pairs"
    missing_variant: ClassVar[str] = "zero"
