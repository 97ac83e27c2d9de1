"""Mixture of multinomials whose ratings are missing by their value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from scipy import sparse
from scipy.special import logsumexp, softmax

from debiasrec.errors import DebiasRecError
from debiasrec.methods.base import Method
from debiasrec.methods.options import choice, number, whole
from debiasrec.models import MatrixFactorization
from debiasrec.propensity import NaiveBayesPropensity
from debiasrec.training.validation import CRITERIA

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split

# EM has converged when an iteration adds less than this share of the log posterior.
_TOLERANCE = 1e-8


@dataclass(kw_only=True, eq=False, repr=False)
class CPTV(Method):
    """Every user is of one of K clusters; the cluster gives the rating of an item, the rating decides if it is seen.

        z_u ~ theta,   r_ui | z_u = k ~ beta[i, :, k],   P(o_ui = 1 | r_ui = v) = mu_v,

    with Dirichlet(concentration) priors on theta and beta and Beta(concentration, concentration) priors on mu, fitted
    by expectation maximisation over all pairs. Unrated pairs enter through sums over items and clusters alone, so that
    an iteration costs what the rated pairs and the I x values x K table cost. Uniform training ratings count as rated.
    Scores are expected ratings in the coding of `target`.

    Args:
        clusters: K.
        concentration: of the priors, above 1.
        missingness: "em" fits mu, "uniform" keeps the naive Bayes estimate from the uniform training ratings.
        iterations: upper limit.
        criterion: what a search for hyper-parameters compares on the validation rows, "auc", "mse" or
            "snips_mse".

    Attributes (after fit):
        log_posterior_: float64, up to a constant, before each iteration and after the last.
        mu_: float64, by rating value from the lowest.

    Source: Marlin and Zemel, Collaborative Prediction and Ranking with Non-Random Missing Data, RecSys 2009, section 3.
    """

    name: ClassVar[str] = "cpt_v"
    summary: ClassVar[str] = "mixture of multinomials with value-dependent missingness, by EM"
    source: ClassVar[str] = "Marlin and Zemel, Collaborative Prediction and Ranking with Non-Random Missing Data, 2009"

    clusters: int = whole(10)
    concentration: float = number(2.0, above=1)
    missingness: str = choice("em", "em", "uniform")
    iterations: int = whole(200)
    criterion: str = choice("auc", *CRITERIA)

    def _solve(self, split: Split, device: str | torch.device) -> MatrixFactorization:
        mixture = _Mixture(split, self.clusters, self.concentration, self.seed)
        if self.missingness == "uniform" and not mixture.has_uniform:
            what = f"uniform training ratings; the split {split.name!r} has none"
            raise DebiasRecError(f'{self.name}: missingness="uniform" needs {what}')
        history = []
        for _ in range(self.iterations):
            history.append(mixture.expectation())
            if len(history) > 1 and history[-1] - history[-2] <= _TOLERANCE * abs(history[-1]):
                break
            mixture.maximisation(learn_mu=self.missingness == "em")
        else:
            history.append(mixture.expectation())
        self.log_posterior_ = np.array(history)
        self.mu_ = mixture.mu
        return self._model(mixture)

    def _model(self, mixture: _Mixture) -> MatrixFactorization:
        """sum_k q[u, k] sum_v beta[i, v, k] value_v is a product of factors."""
        model = MatrixFactorization(self.n_users_, self.n_items_, self.clusters)
        expected = np.einsum("ivk,v->ik", mixture.beta, self.encode(mixture.values).astype(np.float64))
        with torch.no_grad():
            model.user_factors.copy_(torch.from_numpy(mixture.q))
            model.item_factors.copy_(torch.from_numpy(expected))
            model.user_bias.zero_()
            model.item_bias.zero_()
        return model


class _Mixture:
    """The parameters, the posteriors q[u, k], and the two steps of EM.

    Attributes:
        values: the rating values, ascending.
        theta: [K].  beta: [I, V, K].  mu: [V].  q: [U, K].
    """

    def __init__(self, split: Split, clusters: int, concentration: float, seed: int) -> None:
        data = split.dataset
        parts = [part for part in (split.train, split.uniform_train) if part is not None and len(part)]
        self.has_uniform = len(parts) > 1
        ratings = np.concatenate([part.ratings for part in parts])
        self.values, levels = np.unique(ratings, return_inverse=True)
        cells = np.concatenate([part.users * data.n_items + part.items for part in parts])
        cells, first = np.unique(cells, return_index=True)  # a pair that both parts hold is one pair
        users, items = np.divmod(cells, data.n_items)
        self._shape = data.n_items, len(self.values), clusters
        columns = items * len(self.values) + levels.ravel()[first]
        shape = data.n_users, data.n_items * len(self.values)
        self._rated = sparse.csr_matrix((np.ones(len(cells)), (users, columns)), shape)
        self._counts = np.bincount(levels.ravel()[first], minlength=len(self.values)).astype(np.float64)
        self._prior = concentration - 1.0
        self.mu = self._first_mu(split)
        generator = np.random.default_rng(seed)
        share = self._counts / self._counts.sum()
        noise = generator.gamma(5.0, 0.2, self._shape)  # mean 1: the clusters start near the marginal, apart
        self.beta = share[:, None] * noise
        self.beta /= self.beta.sum(axis=1, keepdims=True)
        self.theta = np.full(clusters, 1.0 / clusters)

    def _first_mu(self, split: Split) -> np.ndarray:
        """The naive Bayes estimate; without uniform ratings, the density, rising with the value."""
        if self.has_uniform:
            estimate = NaiveBayesPropensity().fit(split)
            anyone = np.zeros(len(self.values), np.int64)
            return np.minimum(estimate.predict(anyone, anyone, self.values), 0.99)
        data = split.dataset
        density = self._counts.sum() / (data.n_users * data.n_items)
        return np.minimum(density * np.linspace(0.5, 1.5, len(self.values)), 0.99)

    def expectation(self) -> float:
        """The posteriors q; returns the log posterior of the parameters, up to a constant."""
        log_beta = np.log(self.beta)
        unseen = log_beta + np.log1p(-self.mu)[:, None]
        log_missing = logsumexp(unseen, axis=1)  # [I, K]: log sum_v (1 - mu_v) beta
        self._missing = np.exp(unseen - log_missing[:, None, :])
        # log theta + log P(all missing) + what the rated cells change.
        change = np.log(self.mu)[:, None] + log_beta - log_missing[:, None, :]
        joint = np.log(self.theta) + log_missing.sum(axis=0) + self._rated @ change.reshape(-1, self._shape[2])
        self.q = softmax(joint, axis=1)
        penalty = np.log(self.theta).sum() + log_beta.sum() + np.log(self.mu).sum() + np.log1p(-self.mu).sum()
        return float(logsumexp(joint, axis=1).sum() + self._prior * penalty)

    def maximisation(self, *, learn_mu: bool) -> None:
        """theta, beta and mu from the posteriors."""
        sizes = self.q.sum(axis=0)
        rated = (self._rated.T @ self.q).reshape(self._shape)
        missing = (sizes - rated.sum(axis=1))[:, None, :] * self._missing
        beta = self._prior + rated + missing
        self.beta = beta / beta.sum(axis=1, keepdims=True)
        theta = self._prior + sizes
        self.theta = theta / theta.sum()
        if learn_mu:
            unseen = missing.sum(axis=(0, 2))
            self.mu = (self._prior + self._counts) / (2 * self._prior + self._counts + unseen)
