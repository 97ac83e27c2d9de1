"""The likelihood of ordinal matrix factorisation with missing ratings against numeric integration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from debiasrec import load, methods
from debiasrec.models import OrdinalFactorization


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def probabilities(model, user, item):
    """P(r = l) as integrals of the density of s + noise between the cuts."""
    p, q, a, b = (model.tables()[key].detach().double().numpy() for key in list(model.tables())[:4])
    s = p[user] @ q[item] + a[user] + b[item]
    cuts = model.cuts.detach().double().numpy()
    inner = np.cumsum([cuts[0], *np.log1p(np.exp(cuts[1:]))])
    edges = pairwise([-12 + s, *inner, 12 + s])
    return np.array([quad(norm.pdf, low - s, high - s, epsabs=1e-13)[0] for low, high in edges])


def test_the_loss_is_the_negative_log_likelihood_by_numeric_integration(split):
    method = methods.make("pmf_nmar", target="stars", factors=2, batch_size=40, seed=3)
    loader = method._start(split, "cpu")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for table in [*method.observation_.values(), *list(method.model_.tables().values())[:4]]:
            table.add_(0.5 * torch.randn(table.shape, generator=generator))
    batch = next(loader.epoch(1))
    assert 0 < int(batch["biased"].sum()) < len(batch)
    drawn = method._unrated.draw(len(batch), torch.device("cpu"))
    method.begin_epoch(1)
    total = 0.0
    rated = zip(batch.users, batch.items, batch["levels"], batch["biased"], strict=True)
    for user, item, level, biased in rated:
        total -= np.log(probabilities(method.model_, user, item)[level])
        logits = method.logits(user[None], item[None])[0].detach().double().numpy()
        total -= np.log(sigmoid(logits[level])) if biased else 0.0
    n_unrated = len(method._unrated) / method.n_rows_
    for user, item in zip(*drawn, strict=True):
        logits = method.logits(user[None], item[None])[0].detach().double().numpy()
        total -= n_unrated * np.log((probabilities(method.model_, user, item) * sigmoid(-logits)).sum())
    assert float(method.loss(batch).detach()) == pytest.approx(total / len(batch), rel=1e-5)


def test_probabilities_sum_to_one_and_stay_finite_far_out():
    model = OrdinalFactorization(3, 1, 1, values=[1.0, 2.0, 3.0, 4.0, 5.0], shares=[1.0, 2.0, 3.0, 2.0, 1.0])
    with torch.no_grad():
        for table in list(model.tables().values())[:4]:
            table.zero_()
        model.user_bias.copy_(torch.tensor([0.0, 12.0, -12.0]))
    users, items = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    log = model.log_probabilities(users, items)
    assert torch.isfinite(log).all()
    torch.testing.assert_close(log.exp().sum(1), torch.ones(3))
    torch.testing.assert_close(log[0].exp(), torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0]) / 9)
    gradients = torch.autograd.grad(log.sum(), [model.user_bias, model.cuts])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    torch.testing.assert_close(model.score(users, items), torch.tensor([3.0, 5.0, 1.0]), rtol=0, atol=1e-4)


def test_the_missing_cell_has_the_closed_form_gradient():
    """d(-log Z)/do_l = P_l sigmoid(-o_l) sigmoid(o_l) / Z with Z = sum_l P_l sigmoid(-o_l)."""
    log = torch.log_softmax(torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), 1)
    logits = torch.linspace(-3, 3, 35, dtype=torch.float64).reshape(7, 5).requires_grad_()
    loss = -torch.logsumexp(log - torch.nn.functional.softplus(logits), 1).sum()
    hidden = log.exp() * torch.sigmoid(-logits)
    expected = hidden / hidden.sum(1, keepdim=True) * torch.sigmoid(logits)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected.detach(), rtol=1e-12, atol=1e-12)


def test_ratings_that_hide_themselves_are_corrected():
    split = load("simulated", n_users=300, n_items=80, density=0.15, uniform_per_user=20, seed=1).split("ltd", 0)
    options = {"target": "stars", "criterion": "mse", "lr": 0.03, "max_epochs": 30}
    test = split.uniform_test
    errors = {}
    for name in ("mf_combine", "pmf_nmar"):
        scores = methods.make(name, **options).fit(split).predict(test.users, test.items)
        errors[name] = float(np.mean((scores - test.ratings) ** 2))
    assert errors["pmf_nmar"] < errors["mf_combine"]
