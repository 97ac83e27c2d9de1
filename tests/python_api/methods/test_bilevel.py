"""Hypergradients of the bi-level methods against a double backward through the written-out step, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from python_api.methods.bilevel_cases import (
    after_a_step,
    assert_same_gradients,
    autodebias_lower,
    grid_of,
    l2_scale,
    rated_on_average,
    scores,
    started,
)

from debiasrec import methods
from debiasrec.data.clicks import surely_seen

REDUCTIONS = ["sum", "mean"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", ["signed", "binary", "stars"])
def test_autodebias(split, reduction, target):
    method, batch = started("autodebias", split, reduction=reduction, target=target, imputation_weight=0.3)
    assert len(method.upper_learners()) == 3
    expected = after_a_step(method, batch, autodebias_lower(method, batch), batch.block)
    leaves = [*method.w1_.tables().values(), *method.w2_.tables().values(), method.imputation_]
    assert_same_gradients(method, batch, expected, leaves)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", ["signed", "stars"])
def test_the_real_step_of_autodebias_goes_down_its_lower_loss(split, reduction, target):
    method, batch = started("autodebias", split, reduction=reduction, target=target, optimizer="sgd")
    tables = [table.detach().clone().requires_grad_() for table in method.model_.tables().values()]
    loss = autodebias_lower(method, batch)(tables)
    share = l2_scale(method, batch)
    assert float(method.lower_step(batch)) == pytest.approx(float(loss.detach()), rel=1e-9)
    norm = tables[0][batch.block[0]].square().sum() + tables[1][batch.block[1]].square().sum()
    gradients = torch.autograd.grad(loss + share * method.l2 / 2 * norm, tables)
    for table, gradient, moved in zip(tables, gradients, method.model_.tables().values(), strict=True):
        torch.testing.assert_close(moved, table - method.lr * gradient, rtol=1e-9, atol=1e-9)


def test_the_mean_of_autodebias_counts_every_pair_alike_however_many_ratings_a_block_has(hand):
    """Five ratings in four blocks of 2 x 2: each block gives its own share of the loss of the whole matrix."""
    ratings = np.full((4, 4), np.nan)
    ratings[0], ratings[1, 0] = [5.0, 1.0, 1.0, 5.0], 5.0
    data = hand(ratings)
    split = replace(data, uniform_train=data.train)
    options = {"reduction": "mean", "imputation_weight": 0.3, "l2": 0.0}
    whole, everything = started("autodebias", split, user_block=4, item_block=4, **options)
    expected = float(whole.lower_step(everything))
    loader = methods.make("autodebias", batching="block", user_block=2, item_block=2)._start(split, "cpu")
    losses, rated = [], []
    for batch in loader.epoch(1):
        rated.append(len(batch))
        method, _ = started("autodebias", split, user_block=2, item_block=2, **options)
        batch.columns["targets"] = batch["targets"].double()
        losses.append(float(method.lower_step(batch)))
        assert rated_on_average(method, batch) == 1.25
    assert len(set(rated)) > 1
    assert np.mean(losses) == pytest.approx(expected, rel=1e-9)


def test_flat_batches_of_autodebias_estimate_its_block_loss(split):
    """The mean over many flat batches is the loss over the whole matrix."""
    shape = {"user_block": split.dataset.n_users, "item_block": split.dataset.n_items}
    options = {"reduction": "sum", "imputation_weight": 0.3, **shape}
    whole, batch = started("autodebias", split, **options)
    tables = list(whole.model_.tables().values())
    expected = float(autodebias_lower(whole, batch)(tables).detach())
    flat, _ = started("autodebias", split, **{**options, "batching": "flat", "batch_size": 1 << 20})
    totals = []
    for seed in range(60):
        sampled = type(batch)(batch.users, batch.items, batch.columns, None, np.random.default_rng(seed))
        lower = flat.lower(sampled)
        errors = scores(tables, lower["users"], lower["items"]) - lower["targets"]
        totals.append(float((lower["weights"] * errors.square()).sum().detach()))
    assert np.mean(totals) == pytest.approx(expected, abs=4 * np.std(totals) / 60**0.5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_flat_autodebias(split, reduction):
    options = {"batching": "flat", "batch_size": 200, "reduction": reduction, "imputation_weight": 0.3}
    method, batch = started("autodebias", split, **options)
    again = type(batch)(batch.users, batch.items, batch.columns, None, np.random.default_rng(2))
    rows = method.lower(again)
    again = type(batch)(batch.users, batch.items, batch.columns, None, np.random.default_rng(2))

    def lower(tables):
        return (rows["weights"] * (scores(tables, rows["users"], rows["items"]) - rows["targets"]).square()).sum()

    expected = after_a_step(method, again, lower, (rows["users"], rows["items"]))
    leaves = [*method.w1_.tables().values(), *method.w2_.tables().values(), method.imputation_]
    assert_same_gradients(method, again, expected, leaves)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", ["signed", "stars"])
def test_propensities_of_bal_ips(split, reduction, target):
    method, batch = started("bal_ips", split, reduction=reduction, target=target)
    leaves = list(method.propensity_.tables().values())

    def lower(tables):
        q = 0.001 + 0.999 * (scores(leaves, batch.users, batch.items) + method.propensity_.offset).sigmoid()
        errors = (scores(tables, batch.users, batch.items) + method.offset_ - batch["targets"]).square() / q
        return errors.sum() if reduction == "sum" else errors.mean()

    expected = after_a_step(method, batch, lower, (batch.users, batch.items))
    assert_same_gradients(method, batch, expected, leaves)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_propensities_of_bal_dr(split, reduction):
    method, batch = started("bal_dr", split, reduction=reduction)
    leaves = list(method.propensity_.tables().values())
    users, items = grid_of(batch)

    def lower(tables):
        q = 0.001 + 0.999 * (scores(leaves, batch.users, batch.items) + method.propensity_.offset).sigmoid()
        g = [
            scores(method.imputation_.tables().values(), *pairs).detach()
            for pairs in ((users, items), (batch.users, batch.items))
        ]
        every, rated = scores(tables, users, items), scores(tables, batch.users, batch.items)
        total = (every - every.detach() - g[0]).square().sum()
        total = total + (((rated - batch["targets"]).square() - (rated - rated.detach() - g[1]).square()) / q).sum()
        return total if reduction == "sum" else total / len(users)

    expected = after_a_step(method, batch, lower, (users, items))
    assert_same_gradients(method, batch, expected, leaves)


def test_autodebias_of_clicks_learns_from_seen_pairs_and_without_a_label(split):
    method, batch = started("autodebias_implicit", split, imputation_weight=0.3)
    seen = surely_seen(split, unrated=False)
    np.testing.assert_array_equal(method.upper_["users"], seen.users)
    assert bool((batch["targets"] == 1).all())
    assert not bool(method.w1_.label_table.any())
    method.w1_.label_table = label = method.w1_.label_table.detach().double()
    expected = after_a_step(method, batch, autodebias_lower(method, batch), batch.block)
    leaves = [method.w1_.user_table, method.w1_.item_table, *method.w2_.tables().values(), method.imputation_]
    assert_same_gradients(method, batch, expected, leaves)
    method.step(batch)
    assert not bool(label.any())
