"""Learning to debias: hypergradients against double backward, steps against the printed losses, limits, recovery."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from debiasrec import methods
from debiasrec.data import Dataset, Interactions, Split
from debiasrec.propensity import propensity_statistics

NAMES = ("mf_ips_ltd", "mf_dr_ltd", "nf_ips_ltd", "nf_dr_ltd")
SETTINGS = {"target": "stars", "optimizer": "sgd", "reduction": "sum", "factors": 3, "lr": 0.05, "batch_size": 100}


@pytest.fixture
def tiny() -> Split:
    """7 users, 5 items, 15 biased and 9 uniform training ratings, features."""
    rng = np.random.default_rng(4)
    cells = rng.choice(35, 24, replace=False)
    users, items = np.divmod(cells, 5)
    ratings = rng.integers(1, 6, 24).astype(float)
    ratings[:5] = range(1, 6)
    train = Interactions(users[:15], items[:15], ratings[:15])
    uniform = Interactions(users[15:], items[15:], ratings[15:])
    features = [rng.random((n, 2)).astype(np.float32) for n in (7, 5)]
    ids = pd.RangeIndex(7), pd.RangeIndex(5)
    data = Dataset("tiny", train, uniform, 7, 5, *ids, (1.0, 5.0), 4.0, *features)
    return Split(data, "tiny", 0, train=train, uniform_train=uniform)


def started(name, split, **options):
    """The method before its first step, in float64 throughout, and its first batch."""
    method = methods.make(name, **{**SETTINGS, **options})
    loader = method._start(split, "cpu")
    loader.columns = {key: as_double(column) for key, column in loader.columns.items()}
    method.upper_["targets"] = method.upper_["targets"].double()
    for model in (method.model_, getattr(method, "imputation_", None)):
        for tensor in ({**model.tables(), **model.constants()} if model is not None else {}).values():
            tensor.data = tensor.data.double()
    with torch.no_grad():
        for table in method.model_.tables().values():
            table.add_(0.3 * torch.randn(table.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64))
    network = method.propensity_
    for table in network.tables().values():
        table.data = table.data.double() + 0.2
    if network.kind != "pair":
        network._users, network._items = network._users.double(), network._items.double()
    return method, next(loader.epoch(1))


def as_double(column):
    return column.double() if column.is_floating_point() else column


def score(model, tables, users, items):
    """Scores less the offset, as a function of the tables."""
    if hasattr(model, "_score"):
        return model._score(tables, users, items)
    pairs = (tables["user_factors"][users] * tables["item_factors"][items]).sum(1)
    return pairs + tables["user_bias"][users] + tables["item_bias"][items]


def lower_loss(method, batch, tables, q, pseudo_of):
    """The printed lower loss; `pseudo_of` are the tables of which the pseudo labels are made."""
    model, targets = method.model_, batch["targets"] - method.offset_
    s = score(model, tables, batch.users, batch.items)
    if "imputations" not in batch.columns:
        return ((s - targets) ** 2 / q).sum()
    pairs = batch["unrated_users"], batch["unrated_items"]
    p = score(model, pseudo_of, batch.users, batch.items) + batch["imputations"]
    unrated = score(model, tables, *pairs) - score(model, pseudo_of, *pairs) - batch["unrated_imputations"]
    rated = (s - p) ** 2 + ((s - targets) ** 2 - (s - p) ** 2) / q
    return rated.sum() + method._missing_weight() * (unrated**2).sum()


def touched(batch, name, table):
    key = "users" if name == "user_factors" else "items"
    rows = torch.cat([getattr(batch, key), *([batch[f"unrated_{key}"]] if f"unrated_{key}" in batch.columns else [])])
    return table[rows.unique()]


@pytest.mark.parametrize(
    ("kind", "reduction"), [("pair", "sum"), ("logistic", "sum"), ("mlp1", "sum"), ("mlp2", "sum"), ("mlp1", "mean")]
)
@pytest.mark.parametrize("name", NAMES)
def test_hypergradients_equal_those_of_double_backward(tiny, name, kind, reduction):
    options = {"propensity_model": kind, "activation": "tanh", "variance": 0.7, "l2": 0.4, "reduction": reduction}
    lr = options["step_lr"] = 0.03 if reduction == "sum" else 0.6
    if "dr" in name:
        options["missing_scale"] = "unbiased"
    method, batch = started(name, tiny, **options)
    if "dr" in name:
        batch = method._imputed(batch)
    network = method.propensity_
    parameters = list(network.tables().values())
    actual = torch.autograd.grad(method.upper_loss(batch), parameters)

    tables = {key: table.detach().requires_grad_() for key, table in method.model_.tables().items()}
    q = network(batch.users, batch.items, batch["keys"])
    weighted = torch.where(batch["biased"], q, torch.ones_like(q))
    loss = lower_loss(method, batch, tables, weighted, {key: table.detach() for key, table in tables.items()})
    decay = sum((touched(batch, key, tables[key]) ** 2).sum() for key in ("user_factors", "item_factors"))
    share, l2 = (1.0, 0.4) if reduction == "sum" else (1.0 / len(batch), 0.4 * method.batch_l2_scale(batch))
    slopes = torch.autograd.grad(share * loss + 0.5 * l2 * decay, list(tables.values()), create_graph=True)
    stepped = {key: table - lr * slope for (key, table), slope in zip(tables.items(), slopes, strict=True)}
    uniform = method.upper_
    error = score(method.model_, stepped, uniform["users"], uniform["items"]) - uniform["targets"]
    upper = (error**2).sum() + 0.7 * share * q[batch["biased"]].var()
    expected = torch.autograd.grad(upper, parameters)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert max(float(one.abs().max()) for one in actual) > 1e-3


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("name", ["mf_dr_ltd", "nf_dr_ltd"])
def test_the_real_step_goes_down_the_printed_doubly_robust_loss(tiny, name, reduction):
    method, batch = started(name, tiny, l2=0.0, reduction=reduction)
    batch = method._imputed(batch)
    tables = {key: table.detach().clone().requires_grad_() for key, table in method.model_.tables().items()}
    q = method.propensities(batch).detach()
    loss = lower_loss(method, batch, tables, q, {key: table.detach() for key, table in tables.items()})
    loss = loss if reduction == "sum" else loss / len(batch)
    slopes = torch.autograd.grad(loss, list(tables.values()))
    assert float(method.lower_step(batch)) == pytest.approx(float(loss.detach()), rel=1e-6)
    for (key, table), slope in zip(method.model_.tables().items(), slopes, strict=True):
        torch.testing.assert_close(table, tables[key] - method.lr * slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["mf", "nf"])
def test_without_imputations_and_unrated_pairs_dr_takes_the_step_of_ips(tiny, name):
    stepped = []
    for form in ("ips", "dr"):
        method, batch = started(f"{name}_{form}_ltd", tiny, l2=0.0)
        if form == "dr":
            batch = method._imputed(batch)
            for key in ("imputations", "unrated_imputations"):
                batch.columns[key] = torch.zeros_like(batch[key])
        method.lower_step(batch)
        stepped.append([table.detach() for table in method.model_.tables().values()])
    torch.testing.assert_close(*stepped, rtol=1e-9, atol=1e-9)


def test_the_l2_beside_a_mean_follows_the_weights_that_the_pairs_start_with(tiny):
    options = {"propensity_model": "pair", "reduction": "mean", "batch_size": 24}
    method = methods.make("mf_ips_ltd", **options)
    batch = next(method._start(tiny, "cpu").epoch(1))
    assert method.batch_l2_scale(batch) == pytest.approx(float(method.weights(batch).mean()) / 24, rel=1e-6)
    # Rated pairs weigh 1 - 1/q + 1/q, the 11 unrated ones of the matrix 1 each.
    method = methods.make("mf_dr_ltd", missing_scale="unbiased", **options)
    batch = next(method._start(tiny, "cpu").epoch(1))
    assert method.batch_l2_scale(batch) == pytest.approx((24 + 11) / 24 / 24)


def test_uniform_pairs_have_weight_one_and_teach_no_propensity(tiny):
    method, batch = started("mf_ips_ltd", tiny)
    q = method.propensities(batch)
    assert (q[~batch["biased"]] == 1).all()
    assert int((~batch["biased"]).sum()) == len(tiny.uniform_train)
    assert ((q[batch["biased"]] > 1e-3) & (q[batch["biased"]] < 1)).all()


def test_a_large_variance_coefficient_makes_the_propensities_equal(split):
    fast = {"max_epochs": 8, "criterion": "mse", "propensity_lr": 0.1, "step_lr": 0.005}
    options = {**SETTINGS, "optimizer": "adagrad", **fast}
    spread = {}
    for variance in (0.0, 1e4):
        method = methods.make("mf_ips_ltd", variance=variance, **options).fit(split)
        spread[variance] = propensity_statistics(method.propensity_, split).variance
    assert spread[1e4] < 0.01 * spread[0.0]


def test_pair_propensities_are_known_for_the_biased_pairs_alone(split):
    method = methods.make("mf_ips_ltd", propensity_model="pair", max_epochs=1).fit(split)
    train, uniform = split.train, split.uniform_test
    assert method.propensity_.predict(train.users, train.items).shape == (len(train),)
    with pytest.raises(ValueError, match="pairs have no propensity of their own"):
        method.propensity_.predict(uniform.users, uniform.items)


def test_learned_propensities_follow_the_rating_and_correct_the_mean():
    """Ratings are noise, 4 and 5 stars are shown eight times as often as 1 and 2: only the mean can be learned."""
    rng = np.random.default_rng(7)
    stars = rng.choice([1.0, 2.0, 3.0, 4.0, 5.0], (150, 40), p=[0.3, 0.2, 0.2, 0.2, 0.1])
    shown = np.nonzero(rng.random(stars.shape) < np.array([0.05, 0.05, 0.2, 0.4, 0.4])[stars.astype(int) - 1])
    users, items = np.divmod(rng.choice(stars.size, 400, replace=False), 40)
    train, uniform = Interactions(*shown, stars[shown]), Interactions(users, items, stars[users, items])
    ids = pd.RangeIndex(150), pd.RangeIndex(40)
    data = Dataset("noise", train, uniform, 150, 40, *ids, (1.0, 5.0), 4.0)
    split = Split(data, "noise", 0, train=train, uniform_train=uniform)
    options = {**SETTINGS, "optimizer": "adagrad", "max_epochs": 40, "criterion": "mse"}
    method = methods.make("mf_ips_ltd", variance=0.0, propensity_lr=0.05, step_lr=0.01, **options).fit(split)
    mean = propensity_statistics(method.propensity_, split).mean_by_rating
    assert mean[[4.0, 5.0]].min() > 2 * mean[[1.0, 2.0]].max()
    naive = methods.make("mf_combine", **options).fit(split)
    rows = np.divmod(np.arange(stars.size), 40)
    error = {one.name: abs(one.predict(*rows).mean() - stars.mean()) for one in (method, naive)}
    assert error["mf_ips_ltd"] < 0.5 * error["mf_combine"]
