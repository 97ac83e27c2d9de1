"""CausE, KD-Label, popularity deconfounding, TFROM and the ensemble against their equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from debiasrec import evaluate, methods
from debiasrec.data import Interactions
from debiasrec.methods.teachers import fit_teachers

LR, L2 = 0.05, 0.3
BLOCK = {"factors": 2, "lr": LR, "batching": "block", "optimizer": "sgd", "user_block": 3, "item_block": 3}
RATINGS = [[5.0, 1.0, np.nan], [np.nan, 2.0, 4.0], [3.0, np.nan, np.nan]]


@pytest.fixture
def tiny(hand):
    """Five biased ratings, and two uniform ones of which one is of a pair that was rated before."""
    return replace(hand(RATINGS), uniform_train=Interactions([0, 2], [1, 2], [5.0, 1.0]))


def start(method, split, *, double=True):
    """The one batch of the first epoch; with float64 tables where the learner takes a loss."""
    loader = method._start(split, "cpu")
    method.begin_epoch(1)
    batch = next(loader.epoch(1))
    if not double:
        return batch
    for name, table in method.model_.tables().items():
        setattr(method.model_, name, table.detach().double().requires_grad_())
    method.learners_ = {"rating": method._loss_learner(method.model_, method.lr, method.l2)}
    columns = {name: c.double() if c.is_floating_point() else c for name, c in batch.columns.items()}
    return replace(batch, columns=columns)


def copies(model):
    return {name: table.detach().clone().requires_grad_() for name, table in model.tables().items()}


def score(tables, users, items):
    pairs = (tables["user_factors"][users] * tables["item_factors"][items]).sum(1)
    return pairs + tables["user_bias"][users] + tables["item_bias"][items]


def assert_stepped(method, tables, loss, tolerance):
    gradients = torch.autograd.grad(loss, list(tables.values()))
    for (name, table), gradient in zip(tables.items(), gradients, strict=True):
        torch.testing.assert_close(method.model_.tables()[name], table - LR * gradient, rtol=0, atol=tolerance)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_cause_pulls_the_factual_rows_to_the_control_rows(tiny, reduction):
    method = methods.CausE(**BLOCK, pull=0.7, l2=L2, reduction=reduction)
    batch = start(method, tiny)
    tables = copies(method.model_)
    users, items = np.nonzero(np.isfinite(RATINGS))
    targets = np.where(np.array(RATINGS)[users, items] >= 4, 1.0, -1.0)
    factual = (score(tables, users, items) - torch.tensor(targets)) ** 2
    control = (score(tables, [0, 2], [4, 5]) - torch.tensor([1.0, -1.0])) ** 2
    q, q_control = tables["item_factors"][:3], tables["item_factors"][3:].detach()
    pull = 0.7 * sum((q[i] - q_control[i]).abs().sum() for i in items)
    touched = tables["user_factors"].square().sum() + tables["item_factors"][[0, 1, 2, 4, 5]].square().sum()
    share = 7 if reduction == "mean" else 1
    loss = (factual.sum() + control.sum() + pull) / share
    assert float(method.step(batch)) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert_stepped(method, tables, loss + L2 / 2 * touched / share, 1e-12)


def test_cause_predicts_with_the_factual_table(tiny):
    method = methods.CausE(factors=2, max_epochs=3).fit(tiny)
    assert method.model_.item_factors.shape == (3, 2)
    assert set(method.recommend([0, 1, 2])["item"]) <= {0, 1, 2}
    assert method.predict([0], [2]).shape == (1,)
    with pytest.raises(IndexError, match="items"):
        method.predict([0], [3])


@pytest.fixture
def teachers():
    """Settings of quickly fitted teachers with two factors."""
    return {"debiased_teacher": methods.MFUniform(factors=2, max_epochs=20, lr=0.1), "initial": methods.MF(factors=2)}


@pytest.mark.parametrize("norm", ["global", "batch"])
def test_kd_label_refines_the_targets(tiny, teachers, norm):
    method = methods.KDLabel(**BLOCK, l2=0.0, reduction="sum", strength=0.5, norm=norm, **teachers)
    batch = start(method, tiny, double=False)
    tables = copies(method.model_)
    labels = torch.tensor(method.debiased_teacher_.predict(batch.users, batch.items))
    labels = (labels - labels.min()) / (labels.max() - labels.min())
    stars = torch.tensor(RATINGS)[batch.users, batch.items]
    targets = torch.where(stars >= 4, 1.0, -1.0) + 0.5 * labels
    loss = ((score(tables, batch.users, batch.items) - targets) ** 2).sum()
    assert float(method.step(batch)) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert_stepped(method, tables, loss, 1e-6)


def test_kd_label_with_a_teacher_of_one_score_is_mf_that_goes_on(tiny, teachers):
    constant = teachers["initial"].fit(tiny)
    with torch.no_grad():
        for table in constant.model_.tables().values():
            table.zero_()
    method = methods.KDLabel(debiased_teacher=constant, initial=constant, factors=2)
    rows = method.training_rows(tiny)
    method._describe(tiny)
    fit_teachers(method, tiny, "cpu")
    assert method.prepare(tiny, rows)["targets"].tolist() == method.encode(rows.ratings).tolist()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_kd_label_bridges_to_drawn_pairs(tiny, teachers, reduction):
    method = methods.KDLabel(**BLOCK, l2=L2, reduction=reduction, strength=0.5, mode="bridge", **teachers)
    batch = start(method, tiny, double=False)
    tables = copies(method.model_)
    method.step(batch)
    again = next(method._loader({"users": batch.users, "items": batch.items, **batch.columns}).epoch(1))
    bridged, targets, _ = method._bridged(again)
    users, items = bridged.users[5:], bridged.items[5:]
    teacher = torch.tensor(method.debiased_teacher_.predict(users, items))
    torch.testing.assert_close(targets[5:], teacher)
    rated = ((score(tables, batch.users, batch.items) - batch["targets"]) ** 2).sum()
    drawn = ((score(tables, users, items) - teacher) ** 2).sum()
    distinct = bridged.users.unique(), bridged.items.unique()
    decay = tables["user_factors"][distinct[0]].square().sum() + tables["item_factors"][distinct[1]].square().sum()
    share = 5 if reduction == "mean" else 1
    assert_stepped(method, tables, (rated + 0.5 * drawn + L2 / 2 * decay) / share, 1e-6)


def test_kd_label_draws_other_pairs_in_every_epoch(tiny, teachers):
    method = methods.KDLabel(**BLOCK, mode="bridge", **teachers)
    loader = method._start(tiny, "cpu")
    drawn = [method._bridged(next(loader.epoch(number)))[0].items[5:].tolist() for number in (1, 2, 3, 1)]
    assert drawn[0] == drawn[3]
    assert len({tuple(items) for items in drawn}) == 3


# Users 0 and 1 have positive and negative ratings, user 2 has a positive one alone, user 3 loves everything.
TASTES = [[5.0, 1.0, 2.0], [4.0, 5.0, 1.0], [np.nan, 5.0, np.nan], [5.0, 5.0, 5.0]]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_popularity_deconfounding_steps_on_pairs_of_one_user(hand, reduction):
    method = methods.MFPD(**{**BLOCK, "user_block": 4}, gamma=0.5, l2=L2, reduction=reduction)
    batch = start(method, hand(TASTES))
    method._popularity = method._popularity.double()
    negatives = method.negatives_of(batch)
    positives = sorted(zip(batch.users.tolist(), batch.items.tolist(), strict=True))
    assert positives == [(0, 0), (1, 0), (1, 1), (2, 1)]  # user 3 has no negative item
    for user, item in zip(batch.users.tolist(), negatives.tolist(), strict=True):
        assert not TASTES[user][item] >= 4  # a negative rating, or none

    tables = copies(method.model_)
    popularity = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)  # 3, 4 and 3 ratings
    popularity = popularity.clamp(min=1 / 6)

    def attraction(items):
        s = score(tables, batch.users, items)
        return torch.where(s > 0, s + 1, s.exp()) * popularity[items] ** 0.5

    pairs = torch.nn.functional.softplus(attraction(negatives) - attraction(batch.items))
    touched = tables["user_factors"][:3].square().sum()
    touched = touched + tables["item_factors"][torch.cat([batch.items, negatives]).unique()].square().sum()
    share = 4 if reduction == "mean" else 1
    method.negatives_of = lambda _: negatives
    assert float(method.step(batch)) == pytest.approx(float(pairs.sum().detach()) / share, rel=1e-6)
    assert_stepped(method, tables, (pairs.sum() + L2 / 2 * touched) / share, 1e-7)


def test_popularity_deconfounding_of_users_without_negative_ratings_takes_unrated_items(hand):
    split = hand([[5.0, 4.0, np.nan, np.nan], [np.nan, np.nan, np.nan, 5.0]])
    method = methods.MFPD(factors=2, batch_size=8)
    loader = method._start(split, "cpu")
    drawn = set()
    for epoch in range(1, 30):
        method.begin_epoch(epoch)
        batch = next(loader.epoch(epoch))
        drawn |= set(zip(batch.users.tolist(), method.negatives_of(batch).tolist(), strict=True))
    assert drawn == {(0, 2), (0, 3), (1, 0), (1, 1), (1, 2)}


def test_popularity_deconfounding_learns_to_rank(split):
    method = methods.MFPD(max_epochs=30, lr=0.05).fit(split)
    assert evaluate({"mf_pd": method}, split)["debiased", "auc"]["mf_pd"] > 0.55


@pytest.fixture
def fair(split):
    return methods.MFTFROM(base=methods.MF(max_epochs=20, lr=0.05), groups=3).fit(split)


def test_tfrom_gives_the_rows_of_each_user_their_places(fair, split):
    test = split.uniform_test
    scores = fair.predict(test.users, test.items)
    for user in np.unique(test.users):
        own = scores[test.users == user]
        assert sorted(own) == list(range(-len(own), 0))


def test_tfrom_evens_the_exposure_of_groups_of_items(fair, split):
    users = split.dataset.user_ids

    def spread(method):
        table = method.recommend(users, k=5)
        groups = fair.model_.item_groups.numpy()[table["item"]]
        return np.ptp(np.bincount(groups, 1 / np.log2(1 + table["rank"]), minlength=3))

    assert spread(fair) < 0.1 * spread(fair.base_)


def test_groups_of_items_are_equal_and_ordered_by_popularity():
    items = np.repeat(np.arange(6), [5, 1, 4, 2, 0, 3])
    assert methods.mf_tfrom.popularity_groups(items, 6, 3).tolist() == [2, 0, 2, 1, 0, 1]


@pytest.mark.parametrize(("share", "which"), [(1.0, "biased_teacher_"), (0.0, "debiased_teacher_")])
def test_an_ensemble_with_all_the_weight_on_one_is_that_one(split, share, which):
    options = {"biased_teacher": methods.MF(target="stars", max_epochs=3), "share": share, "target": "stars"}
    options["debiased_teacher"] = methods.IPS(target="stars", max_epochs=3, factors=4)
    method = methods.Ensemble(**options).fit(split)
    pairs = split.uniform_test.users, split.uniform_test.items
    np.testing.assert_allclose(method.predict(*pairs), getattr(method, which).predict(*pairs), atol=1e-5)


def test_the_share_of_an_ensemble_is_the_best_on_the_validation_part(split):
    teachers = {"biased_teacher": methods.MF(max_epochs=5), "debiased_teacher": methods.IPS(max_epochs=5)}
    method = methods.Ensemble(**teachers).fit(split)
    assert method.shares_["share"].tolist() == [k / 10 for k in range(11)]
    values = method.shares_["validation"]
    assert method.share_ == method.shares_["share"][values.idxmax()]
    assert values.nunique() > 1
    c = method.share_
    pairs = split.uniform_test.users, split.uniform_test.items
    expected = c * method.biased_teacher_.predict(*pairs) + (1 - c) * method.debiased_teacher_.predict(*pairs)
    np.testing.assert_allclose(method.predict(*pairs), expected, atol=1e-5)
    by_error = methods.Ensemble(criterion="mse", **teachers).fit(split)
    assert by_error.share_ == by_error.shares_["share"][by_error.shares_["validation"].idxmin()]


def test_an_ensemble_without_validation_rows_takes_the_mean(tiny):
    method = methods.Ensemble(biased_teacher=methods.MF(max_epochs=1), debiased_teacher="mf_uniform").fit(tiny)
    assert method.share_ == 0.5
    assert method.shares_.empty
