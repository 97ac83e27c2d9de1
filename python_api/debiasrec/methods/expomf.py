"""Matrix factorisation of clicks with a latent exposure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from debiasrec.methods.base import Method
from debiasrec.methods.options import choice, flag, number, whole
from debiasrec.models import InnerProduct, Model

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split

SPREAD = 0.01  # of the initial factors
FIRST_EXPOSURE = 0.01
# Exposures stay this far from 0 and 1: an item that everyone clicked would have infinite odds.
MARGIN = 1e-6
# Posteriors of users x items, and of users x factor pairs, that are held at a time.
CELLS_AT_ONCE = 1 << 22


@dataclass(kw_only=True, eq=False, repr=False)
class ExpoMF(Method):
    """Whether a user saw an item is a hidden coin of the item; of what was seen the score tells the click.

        a_ui ~ Bernoulli(mu_i),   y_ui | a_ui = 1 ~ Normal(P_u.Q_i, 1 / precision),   y_ui | a_ui = 0 is 0,
        P_u ~ Normal(0, I / l2),  Q_i ~ Normal(0, I / l2),   mu_i uniform,

    fitted by expectation maximisation over all pairs: users, items and exposures in turn, each with posteriors of its
    own, so that no step lowers the log posterior. Clicks are the positive training ratings.

    Args:
        factors: length of P_u and Q_i.
        precision: of the clicks given exposure.
        l2: precision of the factors.
        iterations: of EM.
        published: take sqrt(precision pi / 2) for the factor of the normal density, as the public program does, in
            place of sqrt(precision / (2 pi)). Exposures are then too high, and the log posterior may fall.

    Attributes (after fit):
        exposure_: mu, float64 [I].
        exposures_: mu after each iteration, float64 [iterations, I].
        log_posterior_: float64, after each iteration, up to a constant.

    Source: Liang, Charlin, McInerney and Blei, Modeling User Exposure in Recommendation, WWW 2016, eq (1) to (6).
    """

    name: ClassVar[str] = "expomf"
    summary: ClassVar[str] = "clicks with a latent exposure of every pair, by EM"
    source: ClassVar[str] = "Liang, Charlin, McInerney, Blei, Modeling User Exposure in Recommendation, WWW 2016"

    model_class: ClassVar[type[Model]] = InnerProduct

    target: str = choice("binary", "binary")
    factors: int = whole(100)
    precision: float = number(1.0, above=0)
    l2: float = number(1e-5, above=0)
    iterations: int = whole(10)
    published: bool = flag(False)

    def _solve(self, split: Split, device: str | torch.device) -> InnerProduct:
        state = _Exposed(split, self, device)
        exposures, history = [], []
        for _ in range(self.iterations):
            state.solve("users")
            state.solve("items")
            state.update_exposure()
            exposures.append(state.exposure.cpu().numpy().copy())
            history.append(state.log_posterior())
        self.exposure_, self.exposures_ = exposures[-1], np.stack(exposures)
        self.log_posterior_ = np.array(history)
        model = InnerProduct(self.n_users_, self.n_items_, self.factors)
        with torch.no_grad():
            for table, values in zip(model.tables().values(), (state.users, state.items), strict=True):
                table.copy_(values)
        return model

    def predict_exposure(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The prior exposure mu of the item, float64 [n], whoever the user.

        Args:
            users, items: integer [n], inside indices.
        """
        return self.exposure_[np.asarray(items)]


class _Exposed:
    """The factors, the exposures, and the steps of EM; all in float64.

    Attributes:
        users, items: factors [U, d], [I, d].  exposure: mu [I].
    """

    def __init__(self, split: Split, method: ExpoMF, device: str | torch.device) -> None:
        data, rows = split.dataset, split.train
        clicked = rows.take(data.positives(rows.ratings))
        shape = data.n_users, data.n_items
        self.clicks = torch.zeros(shape, dtype=torch.bool, device=device)
        self.clicks[torch.tensor(clicked.users, device=device), torch.tensor(clicked.items, device=device)] = True
        generator = np.random.default_rng(method.seed)
        self.users, self.items = (
            torch.tensor(SPREAD * generator.standard_normal((n, method.factors)), device=device) for n in shape
        )
        self.exposure = torch.full((shape[1],), FIRST_EXPOSURE, dtype=torch.float64, device=device)
        self.precision, self.l2 = method.precision, method.l2
        self._log_density = 0.5 * math.log(method.precision / (2 * math.pi))  # of the normal at its mean
        self._log_factor = self._log_density + (math.log(math.pi) if method.published else 0.0)

    def _blocks(self) -> list[slice]:
        width = max(len(self.items), self.items.shape[1] ** 2)
        rows = max(1, CELLS_AT_ONCE // width)
        return [slice(start, start + rows) for start in range(0, len(self.users), rows)]

    def _log_odds(self, scores: Tensor, log_factor: float) -> Tensor:
        """log P(a = 1, y = 0) - log P(a = 0)."""
        return torch.logit(self.exposure) + log_factor - self.precision / 2 * scores**2

    def posterior(self, block: slice) -> Tensor:
        """P(a = 1 | y) of every item for the users of a block, [m, I]; 1 where there is a click."""
        odds = self._log_odds(self.users[block] @ self.items.T, self._log_factor)
        return torch.sigmoid(odds).masked_fill_(self.clicks[block], 1.0)

    def solve(self, side: str) -> None:
        """The factors of one side given those of the other: ridge regressions weighted by the posteriors."""
        ridge = self.l2 / self.precision * torch.eye(self.items.shape[1], dtype=torch.float64, device=self.items.device)
        if side == "users":
            new = torch.empty_like(self.users)
            for block in self._blocks():
                right = self.clicks[block].double() @ self.items
                new[block] = _solved(_weighted_grams(self.posterior(block), self.items) + ridge, right)
            self.users = new
            return
        grams, right = ridge.repeat(len(self.items), 1, 1), torch.zeros_like(self.items)
        for block in self._blocks():
            own = self.users[block]
            grams += _weighted_grams(self.posterior(block).T, own)
            right += self.clicks[block].double().T @ own
        self.items = _solved(grams, right)

    def update_exposure(self) -> None:
        """mu: the mean posterior of the item."""
        total = torch.stack([self.posterior(block).sum(0) for block in self._blocks()]).sum(0)
        self.exposure = (total / len(self.users)).clamp(MARGIN, 1 - MARGIN)

    def log_posterior(self) -> float:
        """log P(clicks, factors, mu), up to a constant, with the exposures summed out."""
        total = -self.l2 / 2 * (self.users.square().sum() + self.items.square().sum())
        for block in self._blocks():
            scores = self.users[block] @ self.items.T
            clicked = torch.log(self.exposure) + self._log_density - self.precision / 2 * (1 - scores) ** 2
            missed = torch.log1p(-self.exposure) + softplus(self._log_odds(scores, self._log_density))
            total = total + torch.where(self.clicks[block], clicked, missed).sum()
        return float(total)


def _weighted_grams(weights: Tensor, factors: Tensor) -> Tensor:
    """sum_i w[r, i] q_i q_i^T for every row r of the weights, [R, d, d]: one matrix product."""
    d = factors.shape[1]
    outer = (factors[:, :, None] * factors[:, None, :]).reshape(len(factors), d * d)
    return (weights @ outer).reshape(-1, d, d)


def _solved(grams: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(grams))[:, :, 0]
