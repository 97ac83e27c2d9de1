"""One step of every method on a 2 x 2 matrix against its equations, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec import methods

RATINGS = [[5.0, 1.0], [np.nan, 2.0]]
TARGETS = np.array([[1.0, -1.0], [0.0, -1.0]])  # the entry of the unrated pair is never used
RATED = np.array([[1.0, 1.0], [0.0, 1.0]])
PROPENSITIES = np.array([[0.5, 0.25], [0.1, 0.8]])
LR, L2 = 0.05, 0.3

BLOCK = {
    "factors": 2,
    "lr": LR,
    "batching": "block",
    "optimizer": "sgd",
    "max_epochs": 1,
    "user_block": 2,
    "item_block": 2,
}
GIVEN = {"propensity": "given"}


class Tables:
    """A factor model in numpy, with one gradient step for a matrix of slopes d loss / d s."""

    def __init__(self, model):
        self.p, self.q, self.a, self.b = (t.detach().numpy().astype(np.float64) for t in model.tables().values())

    def scores(self):
        return self.p @ self.q.T + self.a[:, None] + self.b

    def step(self, slopes, l2=0.0):
        p, q = self.p, self.q
        self.p = p - LR * (slopes @ q + l2 * p)
        self.q = q - LR * (slopes.T @ p + l2 * q)
        self.a = self.a - LR * slopes.sum(1)
        self.b = self.b - LR * slopes.sum(0)

    def assert_equal(self, model):
        for expected, table in zip((self.p, self.q, self.a, self.b), model.tables().values(), strict=True):
            np.testing.assert_allclose(table.detach().numpy(), expected, rtol=2e-6, atol=3e-7)


def start(name, split, **options):
    """The method before its first step, and its initial tables."""
    method = methods.make(name, **{**BLOCK, **options})
    loader = method._start(split, "cpu")
    method.begin_epoch(1)
    return method, Tables(method.model_), next(loader.epoch(1))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_mf(hand, reduction):
    method, tables, batch = start("mf", hand(RATINGS), l2=L2, reduction=reduction)
    error = RATED * (tables.scores() - TARGETS)
    scale = 1.0 if reduction == "sum" else 1 / 3
    assert float(method.step(batch)) == pytest.approx(scale * (error**2).sum(), rel=1e-6)
    tables.step(2 * scale * error, scale * L2)
    tables.assert_equal(method.model_)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_ips(hand, reduction):
    split = hand(RATINGS, PROPENSITIES)
    method, tables, batch = start("ips", split, l2=L2, reduction=reduction, **GIVEN)
    weights = RATED / PROPENSITIES
    error = tables.scores() - TARGETS
    scale = 1.0 if reduction == "sum" else 1 / 3
    assert float(method.step(batch)) == pytest.approx(scale * (weights * error**2).sum(), rel=1e-6)
    # The relative L2 of the mean reduction carries the mean weight.
    decay = L2 if reduction == "sum" else L2 * (weights.sum() / 3) / 3
    tables.step(2 * scale * weights * error, decay)
    tables.assert_equal(method.model_)


@pytest.mark.parametrize("normaliser", ["full", "batch"])
def test_snips(hand, normaliser):
    split = hand(RATINGS, PROPENSITIES)
    method, tables, batch = start("snips", split, l2=L2, normaliser=normaliser, **GIVEN)
    weights = RATED / PROPENSITIES / (RATED / PROPENSITIES).sum()
    error = tables.scores() - TARGETS
    assert float(method.step(batch)) == pytest.approx((weights * error**2).sum(), rel=1e-6)
    tables.step(2 * weights * error, L2 / 3)
    tables.assert_equal(method.model_)


def test_snips_with_the_full_normaliser_is_unbiased_over_batches(hand):
    split = hand(RATINGS, PROPENSITIES)
    options = {"batching": "flat", "batch_size": 1, **GIVEN}
    method, tables, _ = start("snips", split, **options)
    losses = [float(method.loss(batch).detach()) for batch in method._start(split, "cpu").epoch(1)]
    weights = RATED / PROPENSITIES / (RATED / PROPENSITIES).sum()
    assert np.mean(losses) == pytest.approx((weights * (tables.scores() - TARGETS) ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_joint_dr(hand, reduction):
    split = hand(RATINGS, PROPENSITIES)
    options = {"l2": L2, "l2_rows": "block", "imputation_l2": 0.7, "imputation_factors": 3, "reduction": reduction}
    method, tables, batch = start("dr", split, **options, **GIVEN)
    imputation = Tables(method.imputation_)
    weights = RATED / PROPENSITIES
    scores = tables.scores()
    residual = TARGETS - scores
    sums = reduction == "sum"
    mean_weight = weights.sum() / 3

    # g steps on sum (g - (t - s))^2 / q, then s on sum_all (s - p)^2 + sum_rated ((s - t)^2 - (s - p)^2) / q.
    scale = 1.0 if sums else 1 / 3
    imputation.step(2 * scale * weights * (imputation.scores() - residual), 0.7 * (1.0 if sums else mean_weight / 3))
    g = imputation.scores()
    scale = 1.0 if sums else 1 / 4
    loss = scale * ((g**2).sum() + (weights * (residual**2 - g**2)).sum())
    assert float(method.step(batch)) == pytest.approx(loss, rel=1e-5)
    tables.step(scale * (-2 * g + weights * (-2 * residual + 2 * g)), L2 * (1.0 if sums else 1 / 3))
    tables.assert_equal(method.model_)
    imputation.assert_equal(method.imputation_)


def test_two_stage_dr(hand):
    split = hand(RATINGS, PROPENSITIES)
    options = {"l2": 0.0, "joint": False, "imputation_epochs": 1, "reduction": "sum"}
    method, tables, batch = start("dr", split, **options, **GIVEN)
    imputation = Tables(method.imputation_)
    weights = RATED / PROPENSITIES

    method.step(batch)
    imputation.step(2 * weights * (imputation.scores() - TARGETS))
    tables.assert_equal(method.model_)
    imputation.assert_equal(method.imputation_)

    method.begin_epoch(2)
    method.step(batch)
    scores, pseudo = tables.scores(), imputation.scores()
    tables.step(2 * (scores - pseudo) + weights * (2 * (scores - TARGETS) - 2 * (scores - pseudo)))
    tables.assert_equal(method.model_)
    imputation.assert_equal(method.imputation_)


def test_dr_counts_a_block_without_ratings(hand):
    ratings = np.full((4, 2), np.nan)
    ratings[0] = [5.0, 1.0]
    split = hand(ratings, np.full((4, 2), 0.5))
    method, _, _ = start("dr", split, l2=0.0, reduction="sum", user_block=1, **GIVEN)
    empty = next(batch for batch in method._start(split, "cpu").epoch(1) if not len(batch))
    user = empty.block[0].item()
    before = method.model_.user_bias.detach().clone()
    g = Tables(method.imputation_).scores()[user]
    assert float(method.step(empty)) == pytest.approx((g**2).sum(), rel=1e-5)
    moved = (method.model_.user_bias.detach() - before)[user]
    assert float(moved) == pytest.approx(LR * 2 * g.sum(), rel=1e-4)


def test_flat_dr_estimates_the_block_loss(split):
    """The mean over many flat batches is the loss over the whole matrix."""
    shape = split.dataset.n_users, split.dataset.n_items
    options = {"propensity": "given", "reduction": "sum", "batching": "block"}
    whole = methods.make("dr", user_block=shape[0], item_block=shape[1], **options)
    expected = float(whole.loss(next(whole._start(split, "cpu").epoch(1))).detach())
    flat = methods.make("dr", **{**options, "batching": "flat", "batch_size": 1 << 20})
    loader = flat._start(split, "cpu")
    totals = [float(flat.loss(batch).detach()) for epoch in range(1, 41) for batch in loader.epoch(epoch)]
    assert np.mean(totals) == pytest.approx(expected, abs=4 * np.std(totals) / 40**0.5)
    assert torch.isfinite(torch.tensor(totals)).all()


@pytest.mark.parametrize("name", ["ips", "dr", "nf_ips"])
def test_uniform_rows_are_added_with_weight_one(split, name):
    method = methods.make(name, uniform_rows=True)
    columns = method._start(split, "cpu").columns
    train, uniform = split.train, split.uniform_train
    n = len(train)
    assert columns["users"].tolist() == [*train.users, *uniform.users]
    expected = 1 / method.propensity_.predict(train.users, train.items, train.ratings)
    np.testing.assert_allclose(columns["weights"][:n], expected, rtol=1e-6)
    assert (columns["weights"][n:] == 1).all()
    assert len(columns["weights"]) == n + len(uniform)
