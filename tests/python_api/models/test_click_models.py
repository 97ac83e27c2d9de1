"""DIN and DeepFM against their formulas, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import DIN, DeepFM, Sequences

# user 0 clicked 4, 1, 2 and has 3 for validation; user 1 nothing; user 2 one item
SEQUENCES = Sequences(np.array([0, 4, 4, 5]), np.array([4, 1, 2, 3, 0]), np.array([1, 0, 0]))
USERS, ITEMS = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 3, 4, 0])


def made(kind, **options):
    return kind(SEQUENCES, 5, 3, seed=1, **options)


def random_(model):
    """The model with tables of size one, so that no term is too small to be seen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table in model.tables().values():
            table.copy_(0.5 + torch.rand(table.shape, generator=generator) if not table.requires_grad else table * 0)
            if table.requires_grad:
                table.add_(torch.randn(table.shape, generator=generator), alpha=0.4)
    return model


def test_histories_are_the_last_clicks_before_a_place():
    samples = made(DIN, history=2).samples(torch.tensor([0, 0, 2, 1]), ITEMS, torch.tensor([3, 1, 4, 4]))
    assert samples.lengths.tolist() == [2, 1, 0, 0]
    assert samples.history[0].tolist() == [1, 2]
    assert samples.history[1, :1].tolist() == [4]


@pytest.mark.parametrize("kind", [DIN, DeepFM])
def test_validation_is_scored_from_the_clicks_before_it(kind):
    model = random_(made(kind))
    before = model.encode(model.samples(USERS, ITEMS, torch.tensor([3, 4, 5, 3]))).logits
    after = model.encode(model.samples(USERS, ITEMS, torch.tensor([4, 4, 5, 4]))).logits
    torch.testing.assert_close(model.score_validation(USERS, ITEMS), before)
    torch.testing.assert_close(model.score(USERS, ITEMS), after)
    assert not torch.allclose(before, after)


def relu_network(model, name, hidden, count):
    for k in range(count):
        weight, bias = model._layer(name, k)
        hidden = torch.relu(weight @ hidden + bias)
    weight, bias = model._layer(name, count)
    return hidden, (weight @ hidden + bias).squeeze()


@pytest.mark.parametrize("width", [0, 3])
def test_din_weighs_every_click_by_a_network_with_dice(width):
    model = random_(made(DIN, user_width=width))
    encoded = model.encode(model.samples(USERS, ITEMS, torch.tensor([4, 4, 5, 2])))
    for row, (user, item, history) in enumerate(((0, 2, [4, 1, 2, 3]), (1, 3, []), (2, 4, [0]), (0, 0, [4, 1]))):
        query, pooled = model.item_factors[item], torch.zeros(3)
        for key in (model.item_factors[click] for click in history):
            hidden = torch.cat([query, key, query - key, query * key])
            for k in range(2):
                weight, bias = model._layer("attention", k)
                hidden = weight @ hidden + bias
                mean, variance = getattr(model, f"mean_{k}"), getattr(model, f"variance_{k}")
                gate = torch.sigmoid((hidden - mean) / (variance + 1e-8).sqrt())
                hidden = hidden * (gate + getattr(model, f"alpha_{k}") * (1 - gate))
            weight, bias = model._layer("attention", 2)
            pooled = pooled + (weight @ hidden + bias) * key
        person = model.user_factors[user]
        torch.testing.assert_close(encoded.mediator[row], torch.cat([person, pooled]))
        _, logit = relu_network(model, "predictor", torch.cat([person, query, pooled]), 2)
        torch.testing.assert_close(encoded.logits[row], logit, rtol=1e-4, atol=1e-5)
    assert encoded.mediator.shape[1] == model.mediator_width


@pytest.mark.parametrize("width", [0, 3])
def test_deepfm_adds_linear_terms_products_and_a_network(width):
    model = random_(made(DeepFM, user_width=width))
    encoded = model.encode(model.samples(USERS, ITEMS, torch.tensor([4, 4, 5, 2])))
    for row, (user, item, history) in enumerate(((0, 2, [4, 1, 2, 3]), (1, 3, []), (2, 4, [0]), (0, 0, [4, 1]))):
        pooled = model.item_factors[history].mean(0) if history else torch.zeros(3)
        linear = model.item_bias[item] + (model.history_bias[history].mean() if history else 0)
        fields = [model.item_factors[item], pooled]
        if width:
            fields = [model.user_factors[user], *fields]
            linear = linear + model.user_bias[user]
        products = sum(fields[a] @ fields[b] for a in range(len(fields)) for b in range(a))
        hidden, deep = relu_network(model, "deep", torch.cat(fields), 2)
        torch.testing.assert_close(encoded.mediator[row], hidden)
        torch.testing.assert_close(encoded.logits[row], linear + products + deep, rtol=1e-4, atol=1e-4)
    assert encoded.mediator.shape[1] == model.mediator_width


def test_training_moves_the_running_statistics_and_prediction_does_not():
    model = random_(made(DIN))
    samples = model.samples(USERS, ITEMS, torch.tensor([4, 4, 5, 2]))
    before = {name: table.clone() for name, table in model.tables().items() if not table.requires_grad}
    assert set(before) == {"mean_0", "variance_0", "mean_1", "variance_1"}
    model.encode(samples)
    assert all(torch.equal(getattr(model, name), table) for name, table in before.items())
    model.encode(samples, training=True)
    assert not any(torch.equal(getattr(model, name), table) for name, table in before.items())


@pytest.mark.parametrize("kind", [DIN, DeepFM])
def test_a_confounder_joins_the_logit_by_user(kind):
    factors = np.array([[1.0], [2.0], [3.0]], np.float32), np.arange(5, dtype=np.float32)[:, None]
    model = random_(made(kind, confounder=factors))
    samples = model.samples(USERS, ITEMS, torch.tensor([4, 4, 5, 2]))
    gamma = model.confounder_weight
    added = model.encode(samples).logits - model._forward(samples, False).logits
    torch.testing.assert_close(added, gamma[USERS] * torch.tensor([2.0, 6.0, 12.0, 0.0]))
    assert len(made(kind).confounder_weight) == 0
