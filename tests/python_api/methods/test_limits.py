"""Where methods must agree, and what their losses estimate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec import methods

SETTINGS = {"max_epochs": 6, "factors": 4, "batch_size": 64}


def tables_of(method):
    return {name: table.detach().numpy() for name, table in method.model_.tables().items()}


def matrix_split(hand, propensities):
    rng = np.random.default_rng(5)
    ratings = rng.integers(1, 6, (30, 20)).astype(float)
    ratings[rng.random((30, 20)) < 0.6] = np.nan
    return hand(ratings, np.broadcast_to(propensities, (30, 20)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_ips_with_propensity_one_is_mf_to_the_bit(hand, reduction):
    split = matrix_split(hand, 1.0)
    options = {**SETTINGS, "reduction": reduction}
    ips = methods.IPS(propensity="given", **options).fit(split)
    mf = methods.MF(**options).fit(split)
    for name, table in tables_of(mf).items():
        assert np.array_equal(table, tables_of(ips)[name]), name


@pytest.mark.parametrize("normaliser", ["full", "batch"])
def test_snips_with_constant_propensity_is_mf_with_mean_reduction(hand, normaliser):
    split = matrix_split(hand, 0.25)
    # Plain SGD: Adam would turn last-digit differences of tiny gradients into whole steps.
    options = {**SETTINGS, "optimizer": "sgd", "lr": 0.5}
    snips = methods.SNIPS(propensity="given", normaliser=normaliser, **options).fit(split)
    mf = methods.MF(**options).fit(split)
    for name, table in tables_of(mf).items():
        np.testing.assert_allclose(tables_of(snips)[name], table, rtol=1e-4, atol=1e-6)


def test_dr_without_imputation_takes_the_gradient_of_ips(hand):
    split = matrix_split(hand, 0.25)
    options = {"propensity": "given", "reduction": "sum", "batching": "block", "user_block": 30, "item_block": 20}
    dr, ips = methods.DR(**options), methods.IPS(**options)
    gradients = []
    for method in (dr, ips):
        loader = method._start(split, "cpu")
        if method is dr:
            with torch.no_grad():
                for table in dr.imputation_.tables().values():
                    table.zero_()
        loss = method.loss(next(loader.epoch(1)))
        gradients.append(torch.autograd.grad(loss, list(method.model_.tables().values())))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mf", "ips", "snips"])
def test_block_and_flat_batches_agree_when_one_batch_is_everything(hand, name):
    split = matrix_split(hand, np.linspace(0.1, 1.0, 20))
    given = {} if name == "mf" else {"propensity": "given"}
    losses, gradients = [], []
    for batching in ("flat", "block"):
        method = methods.make(name, batching=batching, batch_size=10_000, **given)
        loss = method.loss(next(method._start(split, "cpu").epoch(1)))
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, list(method.model_.tables().values())))
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_ips_and_dr_losses_estimate_the_full_information_loss_and_the_naive_one_does_not(hand):
    """A fixed model, all ratings known, 200 samplings with propensities that depend on the rating."""
    rng = np.random.default_rng(11)
    ratings = rng.integers(1, 6, (25, 16)).astype(float)
    propensities = np.array([0.05, 0.1, 0.15, 0.4, 0.7])[ratings.astype(int) - 1]
    targets = np.where(ratings >= 4, 1.0, -1.0)
    estimates = {name: [] for name in ("mf", "ips", "dr")}
    for _ in range(200):
        rated = rng.random(ratings.shape) < propensities
        split = hand(np.where(rated, ratings, np.nan), propensities)
        for name, values in estimates.items():
            options = {} if name == "mf" else {"propensity": "given"}
            blocks = {"batching": "block", "user_block": 25, "item_block": 16}
            method = methods.make(name, factors=3, reduction="sum", seed=2, **blocks, **options)
            loss = float(method.loss(next(method._start(split, "cpu").epoch(1))).detach())
            values.append(loss / (rated.sum() if name == "mf" else ratings.size))
    users, items = np.divmod(np.arange(ratings.size), 16)
    scores = method.model_.score(torch.tensor(users), torch.tensor(items)).detach().numpy()
    full = np.mean((scores - targets.ravel()) ** 2)
    deviations = {name: (np.mean(v) - full) / (np.std(v) / 200**0.5) for name, v in estimates.items()}
    assert abs(deviations["ips"]) < 4
    assert abs(deviations["dr"]) < 4
    assert abs(deviations["mf"]) > 10
