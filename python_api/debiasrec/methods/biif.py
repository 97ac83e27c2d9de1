"""Exposures of clicks learned by bi-level steps, without randomised feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

import debias_ext
from debiasrec.data.clicks import surely_seen
from debiasrec.errors import DebiasRecError
from debiasrec.methods.bilevel import BiLevel
from debiasrec.methods.implicit import BIIF
from debiasrec.methods.learned_exposure import LearnedExposure
from debiasrec.methods.options import choice, number
from debiasrec.training.learner import RowLearner
from debiasrec.training.loader import Batch

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split

_MOMENTS = {"exp_avg": "first", "exp_avg_sq": "second"}


@dataclass(kw_only=True, eq=False, repr=False)
class Biif(LearnedExposure, BiLevel):
    """Relevance from all pairs, exposure from pairs that were surely seen.

        lower = mean of -R log(x p) - (1 - R) log(1 - x p)  over the training pairs,
        upper = mean of -R log p' - (1 - R) log(1 - p')  over pairs that count as seen, p' after an assumed step of the
                lower one. They are those of `debiasrec.data.clicks.surely_seen`.

    Both steps of a batch start from the same tables: the rating model goes down the lower loss with the exposures as
    they are, the exposure model down the upper one. The seen pairs stay in the training set, with their model exposure.

    Args:
        step_lr: learning rate of the assumed step; None takes `lr`. It scales the gradients of the exposure model, and
            beside a mean over a large batch a small one makes them smaller than the eps of Adam: that model then stays.
        assumed: "sgd" (plain gradient descent), or "adam": the step that the rating model takes.

    Source: Biif, eq (16) and algorithm 1.
    """

    name: ClassVar[str] = "biif"
    summary: ClassVar[str] = "relevance and exposure of clicks; the exposure is taught by pairs that were surely seen"
    source: ClassVar[str] = BIIF
    needs_uniform: ClassVar[bool] = False

    step_lr: float | None = number(1.0, above=0, none=True)
    assumed: str = choice("sgd", "sgd", "adam")

    def check_combination(self) -> None:
        """Adam's assumed step is the real one."""
        super().check_combination()
        if self.assumed == "adam" and not (self.optimizer == "adam" and self.detach_item):
            raise DebiasRecError(
                f'{self.name}: assumed="adam" needs optimizer="adam" and detach_item=true, '
                f"got {self.optimizer!r} and {self.detach_item!r}"
            )

    def upper_rows(self, split: Split) -> Interactions:
        """The seen pairs, among the rated ones or among all."""
        return surely_seen(split, unrated=self.negatives != "rated")

    def upper(self, batch: Batch) -> dict[str, Any]:
        """Their cross-entropy."""
        return {**self.upper_, "loss": "bce"}

    def lower(self, batch: Batch) -> dict[str, Any]:
        """The likelihood of the clicks."""
        return {
            "users": batch.users,
            "items": batch.items,
            "targets": batch["targets"],
            "loss": "exposure",
            "exposures": self.exposures(batch),
            "reduction": self.reduction,
        }

    def assumed_lr(self) -> float:
        """`step_lr`, or that of the real step."""
        return self.lr if self.step_lr is None or self.assumed == "adam" else self.step_lr

    def step(self, batch: Batch) -> Tensor:
        """The steps of both models, from the same tables."""
        lower = self.lower(batch)
        gradients = self.exposure_gradients(self.after_step(batch, lower))
        loss = self.rating_step(batch, lower["exposures"])
        self.learners_["exposure"].step(gradients)
        return loss

    def after_step(self, batch: Batch, lower: dict[str, Any], **options: Any) -> Tensor:
        """The upper loss after the assumed step, which moves the item factors in the exposures unless detached."""
        if not self.detach_item:
            return self._after_total_step(batch, lower["exposures"])
        if self.assumed == "adam":
            options["assumed"] = _adam_state(self.learners_["rating"])
        return super().after_step(batch, lower, **options)

    def _after_total_step(self, batch: Batch, exposures: Tensor) -> Tensor:
        """The same with x = x(q): with G the gradient of the upper loss at theta', D the change of the scores along G,
        and dx that of the exposures, the gradient to phi is that of

            -lr' * sum over the batch of  (d ell / d s)(x) D + (d ell / d x)(x) dx.
        """
        users, items, lr = batch.users, batch.items, self.assumed_lr()
        tables = self.model_.user_factors.detach(), self.model_.item_factors.detach()
        scale = self._l2_scale(len(batch), 1.0)
        gradients = self.learners_["rating"].gradients(self.loss(batch), batch, scale=scale)
        moved = [(table - lr * g).requires_grad_() for table, g in zip(tables, gradients, strict=True)]
        value = debias_ext.mf_loss(*moved, **self.upper(batch))
        along = torch.autograd.grad(value, moved)
        change = debias_ext.mf_score(along[0], tables[1], users, items)
        change += debias_ext.mf_score(tables[0], along[1], users, items)
        scores = self.model_.score(users, items).detach().requires_grad_()
        loss = debias_ext.exposure_loss(scores, batch["targets"], exposures, reduction=self.reduction)
        slopes = torch.autograd.grad(loss, (scores, exposures), create_graph=True)
        moves = self.exposure_.along(tables[1], along[1], users, items)
        hyper = -lr * (slopes[0] * change + slopes[1] * moves).sum()
        return value.detach() + (hyper - hyper.detach())


def _adam_state(learner: RowLearner) -> dict[str, Any]:
    state, tables = learner.optimizer.state, learner.model.tables()
    moments = {key: {name: state[f"{name}.{order}"] for name in tables} for key, order in _MOMENTS.items()}
    return {**moments, "step": learner.optimizer.steps}
