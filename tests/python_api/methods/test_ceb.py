"""CEB: its risks by hand, its gradients, and where it meets other losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import debias_ext
from debiasrec import methods

S = np.array([-2.0, 0.3, 1.5, -0.4, 2.5])
T = np.array([-1.0, 0.2, 2.0, -3.0, 0.5])
R = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
P, X = (1 / (1 + np.exp(-v)) for v in (S, T))


def risk(kind, **options):
    scores, logits = (torch.tensor(v, requires_grad=True) for v in (S, T))
    method = methods.make("ceb", risk=kind, reduction="sum", **options)
    return method._risk(scores, logits, torch.tensor(R)), scores, logits


def by_hand(kind, p):
    """The risk with the weights of P and X."""
    if kind == "w":
        return np.where(R > 0, -np.log(p) / X, -(1 - P) / (1 - X * P) * np.log(1 - p)).sum()
    if kind == "pu":
        return np.where(R > 0, -np.log(p) / X - (1 - 1 / X) * np.log(1 - p), -np.log(1 - p)).sum()
    share = P * (1 - X) / (1 - X * P)
    return np.where(R > 0, -np.log(p), -(1 - share) * np.log(1 - p) - share * np.log(p)).sum()


@pytest.mark.parametrize("kind", ["w", "pu", "ap"])
def test_risks_and_gradients_by_hand(kind):
    value, scores, logits = risk(kind)
    assert value.item() == pytest.approx(by_hand(kind, P), rel=1e-12)
    (slopes,) = torch.autograd.grad(value, [scores])
    step = 1e-6
    for k in range(len(S)):
        shifted = [1 / (1 + np.exp(-(S + sign * step * (np.arange(5) == k)))) for sign in (1, -1)]
        expected = (by_hand(kind, shifted[0]) - by_hand(kind, shifted[1])) / (2 * step)
        assert slopes[k].item() == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert not risk(kind)[0].requires_grad or torch.autograd.grad(risk(kind)[0], [logits], allow_unused=True) == (None,)
    value, _, logits = risk(kind, detach_weights=False)
    assert value.item() == pytest.approx(by_hand(kind, P), rel=1e-12)
    assert torch.autograd.grad(value, [logits])[0].abs().min() >= 0


def test_the_gradient_of_ap_is_that_of_the_likelihood():
    value, scores, _ = risk("ap")
    (slopes,) = torch.autograd.grad(value, [scores])
    likelihood = debias_ext.exposure_loss(scores, torch.tensor(R), exposure_logits=torch.tensor(T), reduction="sum")
    torch.testing.assert_close(slopes, torch.autograd.grad(likelihood, [scores])[0], rtol=1e-12, atol=0)


def test_least_exposure_bounds_the_weights():
    value, *_ = risk("w", clip_min=0.4)
    clipped = np.where(R > 0, -np.log(P) / np.maximum(X, 0.4), -(1 - P) / (1 - X * P) * np.log(1 - P)).sum()
    assert value.item() == pytest.approx(clipped, rel=1e-12)


def test_both_models_learn_and_exposures_are_predicted(split):
    method = methods.make("ceb", max_epochs=30, lr=0.02, exposure_lr=0.05, negatives="all").fit(split)
    losses = method.history_["loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    items = np.arange(split.dataset.n_items)
    found = method.predict_exposure(np.zeros_like(items), items)
    assert ((found > 0) & (found < 1)).all()
    clicks = np.bincount(split.train.items[split.train.ratings >= 4], minlength=len(items))
    assert np.corrcoef(found, clicks)[0, 1] > 0.5
