"""Balancing weights: their objective, their limits, and the steps they take part in, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from python_api.methods.bilevel_cases import exponential, grid_of, l2_scale, rated_on_average, scores, started

from debiasrec import methods
from debiasrec.methods.balance import balance_slope, balancing_weights

NORMALISERS = ["softmax", "sigmean"]
BALANCED = ["bal_mf", "bal_ips", "bal_dr", "bal_autodebias"]


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_weights_have_mean_one_even_of_extreme_scores_and_of_none(normaliser):
    z = 30 * draws(5, 7)
    v = balancing_weights(z, normaliser)
    torch.testing.assert_close(v.mean(), torch.tensor(1.0, dtype=torch.float64))
    expected = z.flatten().softmax(0).reshape(5, 7) if normaliser == "softmax" else z.sigmoid() / z.sigmoid().sum()
    torch.testing.assert_close(v, 35 * expected)
    assert balancing_weights(z[:0], normaliser).shape == (0, 7)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_the_slope_of_the_objective_in_the_scores(normaliser, published):
    strength, rest = 0.7, torch.tensor(-0.9, dtype=torch.float64)
    z, terms = draws(3, 4).requires_grad_(), draws(3, 4, seed=1).square()
    w = z.flatten().softmax(0).reshape(3, 4) if normaliser == "softmax" else z.sigmoid() / z.sigmoid().sum()
    v = w * w.numel()
    if published:
        objective = -(w * w.log()).mean() + strength * ((w * terms).mean() + rest).square()
    else:
        objective = (v * v.log()).mean() + strength * ((v * terms).mean() + rest).square()
    (expected,) = torch.autograd.grad(objective, z)
    slope = balance_slope(z.detach(), terms, rest, strength, normaliser, published)
    torch.testing.assert_close(slope, expected)
    assert balance_slope(z[:0].detach(), terms[:0], rest, strength, normaliser, published).shape == (0, 4)


@pytest.mark.parametrize("kind", ["mf", "ncf"])
@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_without_a_balance_term_the_weights_become_equal_and_the_published_ones_drift_apart(split, kind, normaliser):
    spreads = {}
    for published in (False, True):
        options = {"rated_balance": kind, "pair_balance": kind, "normaliser": normaliser, "published": published}
        method, batch = started("bal_dr", split, balance=0.0, balance_lr=0.03, **options)
        rated, pairs = draws(len(batch)), draws(*map(len, batch.block))
        scores = (method.rated_scores(batch), method.pair_scores(batch))
        first = [balancing_weights(z, normaliser).var().item() for z in scores]
        for _ in range(100):
            last = method.balance_step(batch, rated, pairs)
        spreads[published] = [v.var().item() / before for v, before in zip(last, first, strict=True)]
    assert max(spreads[False]) < 0.02
    assert min(spreads[True]) > 1.0


def test_the_balance_term_brings_the_training_error_to_the_uniform_one(split):
    method, batch = started("bal_mf", split, balance=1000.0, balance_lr=0.05)
    with torch.no_grad():
        errors = (method.model_.score(batch.users, batch.items) - batch["targets"]).square()
    target = 1.3 * errors.mean()
    method.uniform_error = lambda: target
    before = (balancing_weights(method.rated_scores(batch), "softmax") * errors).mean()
    for _ in range(200):
        v, _ = method.balance_step(batch, errors)
    assert abs((v * errors).mean() - target) < 0.02 * abs(before - target)
    assert bool((v > 0).all())


def moved(method, tables, loss, batch, sides):
    """The tables after an SGD step down loss + L2 of the distinct rows of `sides`."""
    norm = tables[0][sides[0].unique()].square().sum() + tables[1][sides[1].unique()].square().sum()
    gradients = torch.autograd.grad(loss + l2_scale(method, batch) * method.l2 / 2 * norm, tables)
    return [(table - method.lr * gradient).detach() for table, gradient in zip(tables, gradients, strict=True)]


def own_loss(method, batch, tables, v_rated, v_pairs):
    """The training loss of each method with its own weights and the balancing ones."""
    of_rated, of_pairs = own_sums(method, batch, tables, v_rated, v_pairs)
    if method.published and v_pairs is not None:
        return of_rated / len(batch) + of_pairs / v_pairs.numel()
    if method.reduction == "sum":
        return of_rated + of_pairs
    number = {
        "bal_dr": v_pairs.numel() if v_pairs is not None else 0,
        "bal_autodebias": rated_on_average(method, batch),
    }
    return (of_rated + of_pairs) / number.get(method.name, len(batch))


def own_sums(method, batch, tables, v_rated, v_pairs):
    """The parts of that loss that sum over the rated and over all pairs."""
    users, items = grid_of(batch)
    rated = (scores(tables, batch.users, batch.items) - batch["targets"]).square()
    if method.name == "bal_mf":
        return (v_rated * rated).sum(), 0.0
    if method.name == "bal_autodebias":
        w1 = exponential(method.w1_, batch.users, batch.items, batch["labels"]).detach()
        mask = torch.zeros(method.n_users_, method.n_items_, dtype=torch.int64)
        mask[batch.users, batch.items] = batch["labels"] + 1
        label = mask[users, items]
        w2 = exponential(method.w2_, users, items, (label > 0).long()).detach()
        every = (scores(tables, users, items) - torch.tanh(method.imputation_.detach())[label]).square()
        return (w1 * v_rated * rated).sum(), method.imputation_weight * (w2 * v_pairs.flatten() * every).sum()
    q = method.propensities(batch).detach()
    if method.name == "bal_ips":
        return (v_rated * rated / q).sum(), 0.0
    every = scores(tables, users, items)
    g = scores(method.imputation_.tables().values(), users, items).detach()
    own = scores(tables, batch.users, batch.items)
    pseudo = own.detach() + scores(method.imputation_.tables().values(), batch.users, batch.items).detach()
    of_pairs = (v_pairs.flatten() * (every - every.detach() - g).square()).sum()
    return (v_rated * (rated - (own - pseudo).square()) / q).sum(), of_pairs


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("name", BALANCED)
def test_the_scores_step_down_the_loss_with_the_new_weights_held(split, name, reduction, published):
    lr = 0.001 if reduction == "sum" else 0.5
    options = {"balance": 0.5, "reduction": reduction, "published": published, "optimizer": "sgd", "lr": lr}
    options["l2_rows"] = "block"
    method, batch = started(name, split, **options)
    tables = [table.detach().clone().requires_grad_() for table in method.model_.tables().values()]
    seen = {}
    balance_step = method.balance_step

    def recording(batch, rated, pairs=None):
        seen["rated"], seen["pairs"] = rated, pairs
        seen["v"] = balance_step(batch, rated, pairs)
        return seen["v"]

    method.balance_step = recording
    method.step(batch)
    v_rated, v_pairs = seen["v"]
    torch.testing.assert_close(balancing_weights(method.rated_scores(batch), "softmax").detach(), v_rated)
    loss = own_loss(method, batch, tables, v_rated, v_pairs)
    for expected, table in zip(
        moved(method, tables, loss, batch, batch.block), method.model_.tables().values(), strict=True
    ):
        torch.testing.assert_close(table.detach(), expected, rtol=1e-9, atol=1e-9)
    if published:
        return
    # With every weight 1 the training error is a mean of errors: the loss over the sum of the weights in it.
    method.set_params(reduction="sum")
    total = seen["rated"].mean() + (0 if seen["pairs"] is None else seen["pairs"].mean())
    if name == "bal_autodebias":
        low = method.lower(batch)
        weights = low["weights"].sum() + method._grids(batch, low["block"])[0].sum()
        ones = own_loss(method, batch, tables, torch.ones_like(v_rated), torch.ones_like(v_pairs))
        torch.testing.assert_close(total, (ones / weights).detach())
    elif name != "bal_dr":
        own = method.own_weights(batch)
        ones = own_loss(method, batch, tables, torch.ones_like(v_rated), None)
        torch.testing.assert_close(total, (ones / own.sum()).detach())


@pytest.mark.parametrize("name", BALANCED)
def test_initial_starts_from_a_fitted_model(split, name):
    mf = methods.MF(max_epochs=2, factors=4).fit(split)
    method = methods.make(name, initial=mf, factors=4)
    method._start(split, "cpu")
    for table, given in zip(method.model_.tables().values(), mf.model_.tables().values(), strict=True):
        assert torch.equal(table, given)
    with pytest.raises(ValueError, match="with 5 factors cannot start from mf with 4 factors"):
        methods.make(name, initial=mf, factors=5).fit(split)


@pytest.mark.parametrize("name", ["bal_dr", "bal_autodebias"])
def test_weights_of_all_pairs_need_blocks(split, name):
    with pytest.raises(ValueError, match='weights of all pairs need batching="block", got "flat"'):
        methods.make(name, batching="flat").fit(split)


@pytest.mark.parametrize("name", ["autodebias", "bal_dr", "bal_autodebias"])
def test_a_block_without_ratings_takes_a_step(split, name):
    method = methods.make(name, batching="block", user_block=4, item_block=3)
    batch = next(batch for batch in method._start(split, "cpu").epoch(1) if not len(batch))
    method.begin_epoch(1)
    before = method.model_.user_bias.detach().clone()
    assert math.isfinite(method.step(batch))
    for learner in method.learners_.values():
        assert all(bool(tensor.isfinite().all()) for tensor in learner.tensors().values())
    assert not torch.equal(method.model_.user_bias, before)
