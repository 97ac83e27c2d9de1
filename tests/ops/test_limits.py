"""Limits in which one loss becomes another."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from ops.cases import LOSSES, Case, Spec, assert_near, sample_inputs, value_and_gradients
from torch import Tensor

import debias_ext

ROWS = ("scores", "targets", "pseudo_targets", "propensities", "observed")


@pytest.fixture(params=LOSSES)
def rows(request: pytest.FixtureRequest, device: Device) -> Case:
    return sample_inputs(Spec("dr_loss", ROWS, ("scores",), (("loss", request.param),)), 500, device=device.tensors)


def assert_same(first, second, *leaves: Tensor, scale: float = 0.0) -> None:
    fresh = tuple(leaf.detach().clone().requires_grad_() for leaf in leaves)
    for a, b in zip(value_and_gradients(first, fresh), value_and_gradients(second, fresh), strict=True):
        assert_near(a, b, 128, scale)


def test_propensity_one_makes_ips_the_pointwise_loss(rows: Case) -> None:
    s, t, _, q, _ = rows.tensors.values()
    loss, ones = dict(rows.spec.options)["loss"], torch.ones_like(q)
    assert_same(
        lambda s, t: debias_ext.ips_loss(s, t, ones, loss=loss),
        lambda s, t: debias_ext.pointwise_loss(s, t, loss=loss),
        s,
        t,
    )
    logits = torch.full_like(q, 800.0)
    assert_same(
        lambda s: debias_ext.ips_loss(s, t, propensity_logits=logits, loss=loss),
        lambda s: debias_ext.pointwise_loss(s, t, loss=loss),
        s,
    )


def test_ips_is_the_pointwise_loss_with_inverse_weights(rows: Case) -> None:
    s, t, _, q, _ = rows.tensors.values()
    loss = dict(rows.spec.options)["loss"]
    assert_same(
        lambda s, t, q: debias_ext.ips_loss(s, t, q, loss=loss),
        lambda s, t, q: debias_ext.pointwise_loss(s, t, 1 / q, loss=loss),
        s,
        t,
        q,
    )


def test_constant_propensity_makes_snips_the_mean_loss(rows: Case) -> None:
    s, t, _, q, _ = rows.tensors.values()
    loss, constant = dict(rows.spec.options)["loss"], torch.full_like(q, 0.37)
    assert_same(
        lambda s, t: debias_ext.snips_loss(s, t, constant, loss=loss),
        lambda s, t: debias_ext.pointwise_loss(s, t, loss=loss),
        s,
        t,
    )


def test_normaliser_of_the_whole_batch_changes_nothing(rows: Case) -> None:
    s, t, _, q, _ = rows.tensors.values()
    loss, normaliser = dict(rows.spec.options)["loss"], (float((1 / q).sum()), len(q))
    assert_same(
        lambda s, t: debias_ext.snips_loss(s, t, q, loss=loss, normaliser=normaliser),
        lambda s, t: debias_ext.snips_loss(s, t, q, loss=loss),
        s,
        t,
    )


def test_batches_with_a_normaliser_average_to_the_loss_of_all_rows(rows: Case) -> None:
    s, t, _, q, _ = rows.tensors.values()
    loss, normaliser = dict(rows.spec.options)["loss"], (float((1 / q).sum()), len(q))
    parts = zip(s.split(100), t.split(100), q.split(100), strict=True)
    batches = [debias_ext.snips_loss(*part, loss=loss, normaliser=normaliser) for part in parts]
    assert_near(torch.stack(batches).mean(), debias_ext.snips_loss(s, t, q, loss=loss), 64)


def test_logits_and_their_propensities_agree(rows: Case) -> None:
    s, t, _, q, _ = rows.tensors.values()
    loss = dict(rows.spec.options)["loss"]
    for function in (debias_ext.ips_loss, debias_ext.snips_loss):
        for bound in ({}, {"clip_min": 0.2}, {"floor": 0.2}):
            assert_same(
                lambda s, x, f=function, b=bound: f(s, t, propensity_logits=x, loss=loss, **b),
                lambda s, x, f=function, b=bound: f(s, t, torch.sigmoid(x), loss=loss, **b),
                s,
                torch.logit(q.clamp(max=0.99)),
            )


def test_everything_observed_with_certainty_makes_dr_the_loss_of_the_targets(rows: Case) -> None:
    s, t, p, q, o = rows.tensors.values()
    loss, ones, everything = dict(rows.spec.options)["loss"], torch.ones_like(q), torch.ones_like(o)
    assert_same(
        lambda s, t: debias_ext.dr_loss(s, t, p, ones, everything, loss=loss),
        lambda s, t: debias_ext.pointwise_loss(s, t, loss=loss),
        s,
        t,
        scale=0.1,
    )


def test_nothing_observed_makes_dr_the_loss_of_the_pseudo_targets(rows: Case) -> None:
    s, t, p, q, o = rows.tensors.values()
    loss, nothing = dict(rows.spec.options)["loss"], torch.zeros_like(o)
    assert_same(
        lambda s, p: debias_ext.dr_loss(s, t, p, q, nothing, loss=loss),
        lambda s, p: debias_ext.pointwise_loss(s, p, loss=loss),
        s,
        p,
    )


def test_perfect_pseudo_targets_make_dr_the_plain_loss_whatever_the_propensities(rows: Case) -> None:
    s, t, _, q, o = rows.tensors.values()
    loss = dict(rows.spec.options)["loss"]
    assert_same(
        lambda s: debias_ext.dr_loss(s, t, t, q, o, loss=loss), lambda s: debias_ext.pointwise_loss(s, t, loss=loss), s
    )


def test_right_propensities_make_ips_and_dr_unbiased(device: Device) -> None:
    generator = torch.Generator().manual_seed(3)
    n = 200_000
    s, t, p = (torch.rand(n, generator=generator, dtype=torch.float64).to(device.tensors) for _ in range(3))
    q = (0.1 + 0.8 * t.square()).clamp(max=1.0)  # missing not at random
    observed = torch.rand(n, generator=generator, dtype=torch.float64).to(device.tensors) < q
    truth = float(debias_ext.pointwise_loss(s, t))
    naive = float(debias_ext.pointwise_loss(s[observed], t[observed]))
    inverse = float(debias_ext.ips_loss(s[observed], t[observed], q[observed], reduction="sum")) / n
    robust = float(debias_ext.dr_loss(s, t, p, q, observed))
    assert abs(naive - truth) > 0.01
    assert abs(inverse - truth) < 0.002
    assert abs(robust - truth) < 0.002
