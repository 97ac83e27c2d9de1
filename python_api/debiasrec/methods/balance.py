"""Balancing: weights as equal as can be under which the training loss estimates the uniform one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

import debias_ext
from debiasrec.errors import DebiasRecError
from debiasrec.methods.bilevel import BiLevel
from debiasrec.methods.distillation import start_from
from debiasrec.methods.options import choice, flag, number, teacher, whole
from debiasrec.methods.trained import Learner
from debiasrec.models import NCF, MatrixFactorization
from debiasrec.training.learner import TableLearner
from debiasrec.training.loader import Batch, BlockLoader, FlatLoader

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.methods.base import Method

BALANCING_MODELS = {"mf": MatrixFactorization, "ncf": NCF}


@torch.no_grad()
def balancing_weights(scores: Tensor, normaliser: str) -> Tensor:
    """Weights of mean 1, of any shape: n softmax(scores), or sigmoid(scores) over its mean."""
    if scores.numel() == 0:
        return torch.empty_like(scores)
    logs = _logs(scores, normaliser)
    v = (logs - logs.amax()).exp_()
    return v.mul_(v.numel() / v.sum())


def weighted_mean(v: Tensor, terms: Tensor, published: bool) -> Tensor:
    """mean(v terms) of weights v of mean 1; 0 of no pairs; over their number once more if `published`."""
    n = max(v.numel(), 1)
    return _dot(v, terms) / (n * n if published else n)


@torch.no_grad()
def balance_slope(
    scores: Tensor, terms: Tensor, rest: Tensor, strength: float, normaliser: str, published: bool
) -> Tensor:
    """The gradient in the scores of mean(v log v) + strength * (mean(v terms) + rest)^2, v the `balancing_weights`.

    With h = log v + 2 strength * gap * terms, where a number added to all of h makes no difference, it is
    v (h - mean(v h)) / n for the softmax, and that times sigmoid(-score) for sigmoids over their mean.

    Args:
        scores: z, of any shape.
        terms: what the weights multiply, the shape of z.
        rest: what other weights add, less the mean uniform error, 0-d.
        strength: of the balance term.
        normaliser: as in `balancing_weights`.
        published: as in `Balanced`; the entropy then is -1 / n sum of w log w of weights w = v / n.
    """
    n = max(scores.numel(), 1)
    v, logs = balancing_weights(scores, normaliser), _logs(scores, normaliser)
    share = 1.0 / n if published else 1.0
    gap = weighted_mean(v, terms, published) + rest
    h = torch.addcmul(-share * logs if published else logs, terms, 2.0 * strength * share * gap)
    slope = h.sub_(_dot(v, h) / n).mul_(v).div_(n)
    return slope.mul_(torch.sigmoid(-scores)) if normaliser == "sigmean" else slope


def _logs(scores: Tensor, normaliser: str) -> Tensor:
    return functional.logsigmoid(scores) if normaliser == "sigmean" else scores


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


def pair_errors(scores: Tensor, values: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """w (s - m)^2 of all pairs of a block, [m, n], or their sum."""
    flat = None if weights is None else weights.flatten()
    errors = debias_ext.pointwise_loss(scores.flatten(), values.flatten(), flat, reduction=reduction)
    return errors.reshape(scores.shape) if reduction == "none" else errors


@dataclass(kw_only=True, eq=False, repr=False)
class Balanced(BiLevel):
    """Every pair of the training loss gets a further weight v, of mean 1 over the batch.

    The weights are a normalised function of a model z of user and item, and each batch moves them down

        mean of v log v + balance * (weighted training error - mean error of the uniform ratings)^2,

    errors and all else being constant: of all weights that make the training error an unbiased estimate, the most equal
    ones. Then the scores take a step down the training loss, with v constant. The training error is the sum of the
    method's own weights times errors over the sum of these weights, so that it compares with a mean.

    Args:
        balance: strength of the second term; 0 leads to equal weights.
        rated_balance: the model behind the weights of the rated pairs, "mf" or "ncf".
        pair_balance: that behind the weights of all pairs, in the methods that impute.
        balance_factors: length of its factor vectors.
        balance_lr, balance_decay: learning rate and weight decay of both (Adam).
        normaliser: "softmax", or "sigmean" for sigmoids over their mean.
        initial: where the scores start: None for random tables, else a method's name or a method, fitted or not.
        published: what the public program minimises: the entropy with the other sign, which drives the weights apart,
            and an estimate that is divided by the number of pairs once more, which is too small to be balanced; and in
            the methods that impute a training loss of two means, one of rated and one of all pairs, for one of sums.

    Attributes (after fit):
        initial_: the fitted method that the scores started from; None for random tables.

    Source: Wang et al., Balancing Unobserved Confounding with a Few Unbiased Ratings in Debiased Recommendations, WWW
    2023, eq (5), (9), (11)-(13) and algorithm 1. The paper prints max of sum w log w for the most equal weights, whose
    solution without the constraint is a single pair; here it is the minimum.
    """

    weighs_all_pairs: ClassVar[bool] = False
    source: ClassVar[str] = "Wang et al., Balancing Unobserved Confounding with a Few Unbiased Ratings, WWW 2023"

    balance: float = number(2.0**-6, least=0)
    rated_balance: str = choice("mf", *BALANCING_MODELS)
    pair_balance: str = choice("mf", *BALANCING_MODELS)
    balance_factors: int = whole(10)
    balance_lr: float = number(0.001, above=0)
    balance_decay: float = number(0.0, least=0)
    normaliser: str = choice("softmax", "softmax", "sigmean")
    initial: str | Method | None = teacher(None)
    published: bool = flag(False)

    def check_combination(self) -> None:
        """Weights of all pairs are those of a block."""
        super().check_combination()
        if self.weighs_all_pairs and self.batching != "block":
            raise DebiasRecError(f'{self.name}: weights of all pairs need batching="block", got "{self.batching}"')

    def learners(self, device: str | torch.device) -> dict[str, Learner]:
        """Those of the method itself, and the balancing models."""
        learners = super().learners(device)
        kinds = {"rated_balance": self.rated_balance}
        if self.weighs_all_pairs:
            kinds["pair_balance"] = self.pair_balance
        self.balancing_ = {}
        for stream, (name, kind) in enumerate(kinds.items(), 4):
            shape = self.n_users_, self.n_items_, self.balance_factors
            model: Any = BALANCING_MODELS[kind](*shape, seed=(self.seed, 0, stream), device=device)
            self.balancing_[name] = model
            learners[name] = TableLearner(model.tables(), lr=self.balance_lr, weight_decay=self.balance_decay)
        return learners

    def upper_learners(self) -> list[TableLearner]:
        """Those of the method itself."""
        balancing = [self.learners_[name] for name in self.balancing_]
        return [learner for learner in super().upper_learners() if learner not in balancing]

    def _start(self, split: Split, device: str | torch.device) -> FlatLoader | BlockLoader:
        loader = super()._start(split, device)
        if self.initial is not None:
            start_from(self.model_, self.initial_, self)
            # Targets are less offset_ already, so the teacher's offset has to go to the biases.
            with torch.no_grad():
                self.model_.user_bias += self.model_.offset - self.offset_
            self.model_.offset = self.offset_
        return loader

    def rated_scores(self, batch: Batch) -> Tensor:
        """z of the rated pairs, [B]."""
        scores: Tensor = self.balancing_["rated_balance"].score(batch.users, batch.items)
        return scores

    def pair_scores(self, batch: Batch) -> Tensor:
        """z of all pairs of the block, [m, n]."""
        assert batch.block is not None
        scores: Tensor = self.balancing_["pair_balance"].grid(*batch.block)
        return scores

    @torch.no_grad()
    def uniform_error(self) -> Tensor:
        """The mean squared error of the uniform training ratings now, 0-d."""
        scores = self.model_.score(self.upper_["users"], self.upper_["items"]) - self.offset_
        return debias_ext.pointwise_loss(scores, self.upper_["targets"])

    def two_kinds(self, of_rated: Tensor, of_pairs: Tensor, batch: Batch) -> Tensor:
        """The sums over rated and over all pairs put together; their means if `published`."""
        if not self.published:
            return of_rated + of_pairs
        assert batch.block is not None
        return of_rated / max(len(batch), 1) + of_pairs / (len(batch.block[0]) * len(batch.block[1]))

    def balance_step(self, batch: Batch, rated: Tensor, pairs: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """One step of the balancing models, that of all pairs first, and the new weights v of both kinds.

        Args:
            batch: the rated pairs and, with `pairs`, the block.
            rated: A [B], where the training error is mean(v A) + mean(v' A').
            pairs: A' [m, n]; None where only the rated pairs have weights.
        """
        rest = -self.uniform_error()
        if pairs is None:
            return self._balance("rated_balance", self.rated_scores, batch, rated, rest), None
        v_rated = balancing_weights(self.rated_scores(batch), self.normaliser)
        of_rated = weighted_mean(v_rated, rated, self.published)
        v_pairs = self._balance("pair_balance", self.pair_scores, batch, pairs, rest + of_rated)
        of_pairs = weighted_mean(v_pairs, pairs, self.published)
        return self._balance("rated_balance", self.rated_scores, batch, rated, rest + of_pairs), v_pairs

    def _balance(
        self, name: str, score: Callable[[Batch], Tensor], batch: Batch, terms: Tensor, rest: Tensor
    ) -> Tensor:
        """A step of one balancing model; its new weights."""
        learner = self.learners_[name]
        with torch.enable_grad():
            scores = score(batch)
        slope = balance_slope(scores, terms, rest, self.balance, self.normaliser, self.published)
        learner.step(torch.autograd.grad(scores, list(learner.tables.values()), slope))
        return balancing_weights(score(batch), self.normaliser)
