"""Poisson factorisation of clicks by coordinate ascent on the variational bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.special import digamma, gammaln

from ..data import Interactions
from ..data.validation import is_whole
from ..errors import DebiasRecError

SHAPE = RATE = 0.3  # of the Gamma priors


@dataclass(frozen=True)
class PoissonFactors:
    """Expected factors of a Poisson factorisation.

    Attributes:
        users, items: float32 [U, c], [I, c], the posterior means; the rate of a pair is the product of its rows.
        bounds: the evidence lower bound after each iteration; it never falls.
    """

    users: np.ndarray
    items: np.ndarray
    bounds: tuple[float, ...]

    def rates(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Expected clicks of pairs, float32 [n]."""
        return np.einsum("nc,nc->n", self.users[users], self.items[items])


@dataclass(frozen=True)
class _Side:
    """Gamma posteriors of one side."""

    shape: np.ndarray
    rate: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.shape / self.rate

    @property
    def log_mean(self) -> np.ndarray:
        return np.exp(digamma(self.shape) - np.log(self.rate))

    def bound(self) -> float:
        """E log p - E log q of the factors."""
        log_mean = digamma(self.shape) - np.log(self.rate)
        prior = SHAPE * np.log(RATE) - gammaln(SHAPE) + (SHAPE - 1) * log_mean - RATE * self.mean
        own = self.shape * np.log(self.rate) - gammaln(self.shape) + (self.shape - 1) * log_mean - self.shape
        return float((prior - own).sum())


def poisson_factorization(
    clicks: Interactions,
    n_users: int,
    n_items: int,
    *,
    factors: int = 10,
    seed: int = 0,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
) -> PoissonFactors:
    """Factorises the matrix of clicks: y_ui ~ Poisson(theta_u . beta_i), Gamma(0.3, 0.3) priors on every factor.

    Args:
        clicks: the pairs with y = 1; all others have y = 0.
        n_users, n_items: U, I.
        factors: c, at least 1.
        seed: of the start.
        tolerance: stop where the bound grows by less than this share of itself.
        max_iterations: stop there.

    Raises:
        DebiasRecError: factors is no whole number of at least 1.

    Source: Gopalan, Hofman and Blei, "Scalable Recommendation with Hierarchical Poisson Factorization", UAI 2015,
        without the hierarchy; the priors are those of Wang et al., "Causal Inference for Recommender Systems",
        RecSys 2020.
    """
    if not is_whole(factors) or factors < 1:
        raise DebiasRecError(f"factors must be a whole number, at least 1, got {factors!r}")
    generator = np.random.default_rng(seed)
    theta, beta = (_start(generator, n, factors) for n in (n_users, n_items))
    bounds: list[float] = []
    while len(bounds) < max_iterations:
        theta = _updated(theta, beta, clicks.users, clicks.items)
        beta = _updated(beta, theta, clicks.items, clicks.users)
        bounds.append(_bound(theta, beta, clicks))
        if len(bounds) > 1 and bounds[-1] - bounds[-2] < tolerance * abs(bounds[-2]):
            break
    return PoissonFactors(theta.mean.astype(np.float32), beta.mean.astype(np.float32), tuple(bounds))


def _start(generator: np.random.Generator, rows: int, factors: int) -> _Side:
    return _Side(SHAPE + 0.1 * generator.random((rows, factors)), np.full((1, factors), RATE + 0.1))


def _updated(own: _Side, other: _Side, rows: np.ndarray, columns: np.ndarray) -> _Side:
    """shape = 0.3 + sum_i y phi, phi ~ exp(E log theta + E log beta); rate = 0.3 + sum_i E beta."""
    mine, others = own.log_mean, other.log_mean
    ratio = 1.0 / np.einsum("nc,nc->n", mine[rows], others[columns])
    matrix = coo_array((ratio, (rows, columns)), shape=(len(mine), len(others))).tocsr()
    return _Side(SHAPE + mine * (matrix @ others), RATE + other.mean.sum(0, keepdims=True))


def _bound(theta: _Side, beta: _Side, clicks: Interactions) -> float:
    """The evidence lower bound with phi at its optimum; log y! is 0."""
    mine, others = theta.log_mean, beta.log_mean
    rated = np.log(np.einsum("nc,nc->n", mine[clicks.users], others[clicks.items])).sum()
    expected = theta.mean.sum(0) @ beta.mean.sum(0)
    return float(rated - expected) + theta.bound() + beta.bound()
