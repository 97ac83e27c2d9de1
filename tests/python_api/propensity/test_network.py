from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.data import load
from debiasrec.data.covariates import covariates
from debiasrec.propensity import PropensityNetwork


@pytest.fixture(scope="module")
def split():
    return load("simulated", n_users=60, n_items=40, density=0.2, uniform_per_user=10).split("ltd", 0)


def network(split, kind, activation="relu"):
    return PropensityNetwork(kind, split, split.train, hidden=4, activation=activation, seed=3)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize(("kind", "layers"), [("logistic", 1), ("mlp1", 2), ("mlp2", 3)])
def test_networks_see_both_sides_and_the_rating(split, kind, layers, activation):
    net = network(split, kind, activation)
    train = split.train
    users, items = covariates(split)
    stars = np.eye(5, dtype=np.float32)[train.ratings.astype(int) - 1]
    values = np.concatenate([users[train.users], items[train.items], stars], 1).astype(np.float64)
    tables = {name: table.detach().double().numpy() for name, table in net.tables().items()}
    assert len(tables) == 2 * layers
    act = {"relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}[activation]
    for layer in range(layers):
        values = values @ tables[f"weight{layer}"].T + tables[f"bias{layer}"]
        values = values if layer == layers - 1 else act(values)
    expected = 1e-3 + 0.999 / (1 + np.exp(-values[:, 0]))
    np.testing.assert_allclose(net.predict(train.users, train.items, train.ratings), expected, rtol=1e-5)


def test_every_pair_has_a_propensity_of_its_own_from_one_half_on(split):
    net = network(split, "pair")
    train = split.train
    np.testing.assert_allclose(net.predict(train.users, train.items), 1e-3 + 0.999 / 2)
    with torch.no_grad():
        net.tables()["logits"][0] = 2.0
    changed = net.predict(train.users, train.items) != 1e-3 + 0.999 / 2
    assert np.isclose(net.predict(train.users, train.items), 1e-3 + 0.999 / (1 + np.exp(-2.0))).sum() == 1
    assert changed.any()


def test_what_a_network_cannot_know_is_refused(split):
    with pytest.raises(ValueError, match=r"1 ratings are no value of the data set: 2\.5"):
        network(split, "mlp1").predict(np.array([0]), np.array([0]), np.array([2.5]))
    uniform = split.uniform_test
    with pytest.raises(ValueError, match="pairs have no propensity of their own"):
        network(split, "pair").predict(uniform.users, uniform.items)


def test_covariates_are_counts_and_means_in_the_unit_interval_and_features(split):
    users, items = covariates(split)
    data, train = split.dataset, split.train
    assert users.shape == (60, 2 + data.user_features.shape[1])
    assert items.dtype == np.float32
    counts = np.bincount(train.users, minlength=60)
    np.testing.assert_allclose(users[:, 0], (counts - counts.min()) / (counts.max() - counts.min()), rtol=1e-6)
    means = np.array([train.ratings[train.items == item].mean() for item in range(40)])
    np.testing.assert_allclose(items[:, 1], (means - means.min()) / (means.max() - means.min()), atol=1e-6)
    np.testing.assert_array_equal(users[:, 2:], data.user_features)
