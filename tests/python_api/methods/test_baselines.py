"""Averages by hand, and weighted matrix factorisation against the sum over every pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec import methods

NAN = np.nan
# User 2 and item 2 have no rating; positives are 4 and 5.
RATINGS = np.array([[5.0, 1.0, NAN, 4.0], [NAN, 2.0, NAN, 5.0], [NAN, NAN, NAN, NAN]])
EVERY = np.divmod(np.arange(RATINGS.size), 4)


def scores(method) -> np.ndarray:
    return method.predict(*EVERY).reshape(RATINGS.shape)


@pytest.mark.parametrize(
    ("target", "users", "items"),
    [
        ("stars", [10 / 3, 3.5, 3.4], [5.0, 1.5, 3.4, 4.5]),
        ("signed", [1 / 3, 0.0, 0.2], [1.0, -1.0, 0.2, 1.0]),
    ],
)
def test_means_are_those_of_the_rows_and_cold_ones_get_the_mean_of_all(hand, target, users, items):
    split = hand(RATINGS)
    by_user, by_item = (methods.make(name, target=target).fit(split) for name in ("user_mean", "item_mean"))
    np.testing.assert_allclose(scores(by_user), np.repeat(users, 4).reshape(3, 4), rtol=1e-6)
    np.testing.assert_allclose(scores(by_item), np.tile(items, (3, 1)), rtol=1e-6)


def test_popularity_counts_the_users_who_liked_an_item(hand):
    method = methods.Popularity().fit(hand(RATINGS))
    np.testing.assert_allclose(scores(method), np.tile([1 / 3, 0, 0, 2 / 3], (3, 1)), rtol=1e-6)
    table = method.recommend([2, 1], k=2)
    assert table["item"].tolist() == [3, 0, 0, 2]  # user 1 has rated items 1 and 3
    assert table["user"].tolist() == [2, 2, 1, 1]


def test_an_average_has_no_epochs(hand):
    method = methods.ItemMean().fit(hand(RATINGS))
    assert (len(method.history_), method.best_epoch_, method.stopped_by_) == (0, 0, "closed_form")


def all_pairs_loss(method, missing_weight: float, lowest: float) -> torch.Tensor:
    """The loss of WMF, pair by pair."""
    model = method.model_
    matrix = model.score(*map(torch.tensor, EVERY)).reshape(RATINGS.shape)
    rated = torch.tensor(np.isfinite(RATINGS))
    targets = torch.tensor(method.encode(np.nan_to_num(RATINGS, nan=1.0)))
    unrated = (~rated * (matrix - lowest).square()).sum()
    return (rated * (matrix - targets).square()).sum() + missing_weight * unrated


def gradients(loss, method) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(method.model_.tables().values())))


WMF = {"factors": 3, "missing_weight": 0.3}
BLOCK = {"batching": "block", "user_block": 2, "item_block": 3}


@pytest.mark.parametrize(("target", "lowest"), [("signed", -1.0), ("binary", 0.0), ("stars", 1.0)])
@pytest.mark.parametrize("batching", [BLOCK, {"batch_size": 2}, {"batch_size": 100}])
def test_the_batches_of_wmf_add_up_to_the_loss_over_every_pair(hand, target, lowest, batching):
    method = methods.WMF(target=target, reduction="sum", **WMF, **batching)
    loader = method._start(hand(RATINGS), "cpu")
    method.model_.user_factors.detach().normal_(generator=torch.Generator().manual_seed(0))
    loss = torch.stack([method.loss(batch) for batch in loader.epoch(1)]).sum()
    expected = all_pairs_loss(method, 0.3, lowest)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(loss, method), gradients(expected, method), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batching", [{"batching": "block"}, {}])
def test_the_mean_loss_of_wmf_is_divided_by_the_weights(hand, batching):
    method = methods.WMF(reduction="mean", **WMF, **batching)
    (batch,) = method._start(hand(RATINGS), "cpu").epoch(1)
    expected = all_pairs_loss(method, 0.3, -1.0) / (5 + 0.3 * 7)
    assert float(method.loss(batch).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize("missing_weight", [0.0, 0.3])
def test_the_mean_loss_of_wmf_counts_every_pair_alike_however_many_ratings_a_block_has(hand, missing_weight):
    """Five ratings of two users in four blocks of 2 x 2."""
    ratings = np.full((4, 4), np.nan)
    ratings[0], ratings[1, 0] = [5.0, 1.0, 1.0, 5.0], 5.0
    options = {"missing_weight": missing_weight, "reduction": "mean", "batching": "block", "l2": 0.1}
    method = methods.WMF(user_block=2, item_block=2, **options)
    losses = [float(method.loss(batch).detach()) for batch in method._start(hand(ratings), "cpu").epoch(1)]
    whole = methods.WMF(user_block=4, item_block=4, **options)
    (batch,) = whole._start(hand(ratings), "cpu").epoch(1)
    assert np.mean(losses) == pytest.approx(float(whole.loss(batch).detach()), rel=1e-5)
    fitted = methods.WMF(user_block=2, item_block=2, max_epochs=2, **options).fit(hand(ratings))
    assert np.isfinite(fitted.history_["loss"]).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_step_of_wmf_decays_as_the_loss_is_reduced(hand, reduction):
    options = {"optimizer": "sgd", "lr": 0.1, "l2": 0.5, "l2_rows": "block", "reduction": reduction}
    method = methods.WMF(batching="block", **WMF, **options)
    (batch,) = method._start(hand(RATINGS), "cpu").epoch(1)
    tables = method.model_.tables()
    scale = 1.0 if reduction == "sum" else 1 / (5 + 0.3 * 7)
    decay = tables["user_factors"].square().sum() + tables["item_factors"].square().sum()
    slopes = gradients(scale * (all_pairs_loss(method, 0.3, -1.0) + 0.25 * decay), method)
    expected = [table.detach() - 0.1 * slope for table, slope in zip(tables.values(), slopes, strict=True)]
    method.step(batch)
    torch.testing.assert_close([table.detach() for table in tables.values()], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_wmf_without_missing_weight_is_mf(split, reduction):
    options = {"optimizer": "sgd", "lr": 1e-3 if reduction == "sum" else 0.5, "reduction": reduction, "max_epochs": 3}
    wmf, mf = methods.WMF(missing_weight=0.0, **options).fit(split), methods.MF(**options).fit(split)
    for ours, theirs in zip(wmf.model_.tables().values(), mf.model_.tables().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_unrated_items_sink_under_wmf(split):
    """Pairs that nobody rated are pulled to the lowest target."""
    users, items = np.divmod(np.arange(120 * 60), 60)
    unrated = ~np.isin(users * 60 + items, split.train.pairs(60))

    def mean(weight):
        method = methods.WMF(missing_weight=weight, max_epochs=10, patience=10, lr=0.05).fit(split)
        return method.predict(users, items)[unrated].mean()

    assert mean(0.0) > mean(0.1) > mean(1.0)


def test_two_stage_dr_is_dr_that_is_not_joint(split):
    options = {"max_epochs": 2, "imputation_epochs": 2}
    named, option = methods.DRTwoStage(**options).fit(split), methods.DR(joint=False, **options).fit(split)
    assert torch.equal(named.model_.user_factors, option.model_.user_factors)
