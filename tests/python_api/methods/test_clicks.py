"""Click methods by hand: what each adds to the cross-entropy, and where its gradients go."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from python_api.methods.click_cases import click_split, started

import debiasrec
from debiasrec import methods
from debiasrec.data.groups import user_groups
from debiasrec.methods.debiasd import class_mixture
from debiasrec.methods.ensctr import gated
from debiasrec.methods.group_teachers import group_teachers
from debiasrec.methods.meal import _Reversal

BASES = ("din", "deepfm")
QUICK = {"max_epochs": 2, "batch_size": 64}
TAUGHT = {**QUICK, "groups": 3}


@pytest.fixture(scope="module")
def clicks():
    return click_split()


def bce(logits, targets):
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)


def slope(loss, logits):
    return torch.autograd.grad(loss, logits, retain_graph=True)[0] * len(logits)


@pytest.mark.parametrize("base", BASES)
def test_the_slope_of_kd_is_that_of_both_cross_entropies(clicks, base):
    method = methods.KD(base=base, label_strength=0.7, temperature=2.0, **QUICK)
    batch, encoded = started(method, clicks)
    teacher = method._teacher.encode(batch.samples).logits
    z, tau = encoded.logits, 2.0
    expected = torch.sigmoid(z) - batch.labels + 0.7 * tau * (torch.sigmoid(z / tau) - torch.sigmoid(teacher / tau))
    torch.testing.assert_close(slope(method.loss(batch, encoded), z), expected)


def test_debiasd_mixes_teachers_by_their_margins_in_each_class():
    probabilities = np.array([[0.9, 0.7, 0.2], [0.6, 0.4, 0.9]])
    trust, weights = class_mixture(probabilities, np.array([True, True, False]))
    # clicks: mean margins .6 and 0; the other class: 1 - 2 p = .6 and -.8, which counts 0
    np.testing.assert_allclose(weights, [[1, 0], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(trust, [0.6, 0.6])
    trust, weights = class_mixture(np.array([[0.1], [0.3]]), np.array([True]))
    np.testing.assert_allclose(weights[1], [0.5, 0.5])
    assert trust.tolist() == [0, 0]


@pytest.mark.parametrize("base", BASES)
def test_debiasd_is_the_cross_entropy_of_mixed_targets(clicks, base):
    method = methods.DebiasD(base=base, **TAUGHT)
    batch, encoded = started(method, clicks)
    method._trust, method._mixture = torch.tensor([0.25, 0.5]), torch.tensor([[1.0, 0, 0], [0.2, 0.3, 0.5]])
    kind = batch.labels.long()
    taught = (torch.sigmoid(method.teacher_logits(batch)) * method._mixture[kind]).sum(1)
    trust = method._trust[kind]
    expected = ((1 - trust) * torch.nn.functional.binary_cross_entropy_with_logits(
        encoded.logits, batch.labels, reduction="none"
    ) + trust * torch.nn.functional.binary_cross_entropy_with_logits(
        encoded.logits, taught, reduction="none"
    )).mean()  # fmt: skip
    torch.testing.assert_close(method.loss(batch, encoded), expected)


def test_the_gate_of_ensctr_mixes_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits, weight = torch.randn(7, 3, generator=generator), torch.randn(3, 3, generator=generator)
    bias = torch.randn(3, generator=generator)
    mixed = (torch.softmax(logits @ weight.T + bias, 1) * torch.sigmoid(logits)).sum(1)
    torch.testing.assert_close(torch.sigmoid(gated(logits, weight, bias)), mixed)


def test_the_gate_alone_learns_from_the_labels_of_its_mixture(clicks):
    method = methods.EnsCTR(label_strength=0.5, **TAUGHT)
    batch, encoded = started(method, clicks)
    mixed = torch.sigmoid(method.teacher_logits(batch)).mean(1)  # the gate starts as the mean
    loss = method.loss(batch, encoded)
    expected = torch.sigmoid(encoded.logits) - batch.labels + 0.5 * (torch.sigmoid(encoded.logits) - mixed)
    torch.testing.assert_close(slope(loss, encoded.logits), expected)
    gate = torch.autograd.grad(loss, method._gate["gate_bias"], retain_graph=True)[0]
    bias = method._gate["gate_bias"]
    alone = bce(gated(method.teacher_logits(batch), method._gate["gate_weight"], bias), batch.labels)
    torch.testing.assert_close(gate, torch.autograd.grad(alone, bias)[0])


def test_reversal_keeps_the_value_and_turns_the_gradient():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    out = _Reversal.apply(x)
    assert torch.equal(out, x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert torch.equal(gradient, -2 * x)


@pytest.mark.parametrize("reverse", [True, False])
def test_meal_works_against_its_discriminator_and_the_discriminator_does_not(clicks, reverse):
    def gradients(strength):
        method = methods.MEAL(adversary_strength=strength, reverse=reverse, **TAUGHT)
        batch, encoded = started(method, clicks)
        loss = method.loss(batch, encoded)
        weight = method._discriminator["weight_0"]
        own = torch.autograd.grad(loss, weight, retain_graph=True, allow_unused=True)[0]
        told = method._judge(torch.cat([encoded.mediator, encoded.logits.unsqueeze(1)], 1))
        helping = torch.autograd.grad(bce(told, torch.ones_like(told)), encoded.mediator, retain_graph=True)[0]
        return torch.autograd.grad(loss, encoded.mediator, retain_graph=True, allow_unused=True)[0], own, helping

    (with_it, own, helping), (without, _, _) = gradients(2.0), gradients(0.0)
    sign = -1 if reverse else 1
    torch.testing.assert_close(with_it - without, sign * 2.0 * helping)
    assert own.abs().sum() > 0


def naive_labels(method, mediators, adjusted, student, items):
    """eq (10)-(14): psi on every [m'_j, m_ki, e_i], an array of N x K x N."""
    head = method._head
    first = torch.cat([head["psi_context"], head["psi_mediator"], head["psi_item"]], 1)
    count, teachers = mediators.shape[:2]
    inputs = torch.cat(
        [
            adjusted[None, None].expand(count, teachers, -1, -1),
            mediators[:, :, None].expand(-1, -1, count, -1),
            items[:, None, None].expand(-1, teachers, count, -1),
        ],
        3,
    )
    hidden = torch.relu(inputs @ first.T + head["psi_bias"])
    inside = torch.sigmoid(hidden @ head["psi_output"] + head["psi_output_bias"]).mean(2)
    logits = torch.einsum("bkh,bh->bk", mediators @ head["attention_teacher"].T, student @ head["attention_student"].T)
    return (torch.softmax(logits, 1) * inside).sum(1)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("feature", ["causal", "vanilla"])
def test_the_loss_of_causald_is_that_of_its_equations(clicks, base, feature):
    method = methods.CausalD(
        base=base, feature=feature, label_strength=0.3, feature_strength=0.6, counterfactuals=0, **TAUGHT
    )
    batch, encoded = started(method, clicks)
    mediators = torch.stack([teacher.mediator for teacher in method.taught(batch)], 1)
    sizes = torch.bincount(torch.tensor(user_groups(clicks, "activeness", 3)[clicks.train.users])).float()
    shares = sizes / sizes.sum() if feature == "causal" else torch.full((3,), 1 / 3)
    adjusted = (shares[:, None] * mediators).sum(1)
    items = method.model_.item_factors.detach()[batch.samples.items]
    labels = naive_labels(method, mediators, adjusted, encoded.mediator.detach(), items)
    z, y = encoded.logits, batch.labels
    expected = bce(z, y) + 0.3 * (bce(z, labels.detach()) + torch.nn.functional.binary_cross_entropy(labels, y))
    expected = expected + 0.6 * (adjusted - encoded.mediator).square().sum(1).mean()
    loss = method.loss(batch, encoded)
    torch.testing.assert_close(loss, expected)
    tables = [*method._head.values(), method.model_.item_factors]
    for ours, theirs in zip(
        *(torch.autograd.grad(x, tables, retain_graph=True) for x in (loss, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_the_labels_of_causald_teach_the_student_and_not_the_reverse(clicks):
    method = methods.CausalD(label_strength=1.0, feature_strength=0.0, counterfactuals=0, **TAUGHT)
    batch, encoded = started(method, clicks)
    mediators = torch.stack([teacher.mediator for teacher in method.taught(batch)], 1)
    adjusted = torch.einsum("k,bkm->bm", method._shares, mediators)
    items = method.model_.item_factors.detach()[batch.samples.items]
    labels = naive_labels(method, mediators, adjusted, encoded.mediator.detach(), items).detach()
    loss, z = method.loss(batch, encoded), encoded.logits
    torch.testing.assert_close(slope(loss, z), 2 * torch.sigmoid(z) - batch.labels - labels, rtol=1e-3, atol=1e-5)


def test_drawn_counterfactuals_give_the_exact_labels_on_average(clicks):
    method = methods.CausalD(counterfactuals=8, exclude_self=True, **TAUGHT)
    batch, encoded = started(method, clicks)
    mediators = torch.stack([teacher.mediator for teacher in method.taught(batch)], 1)
    adjusted = torch.einsum("k,bkm->bm", method._shares, mediators)
    items = method.model_.item_factors.detach()[batch.samples.items]
    arguments = (batch, 50 * mediators, 50 * adjusted, encoded.mediator.detach(), items)
    with torch.no_grad():
        drawn = torch.stack([method._labels(*arguments) for _ in range(300)])
        method.counterfactuals = 0
        exact = method._labels(*arguments)
    assert drawn.std(0).max() > 1e-3
    torch.testing.assert_close(drawn.mean(0), exact, rtol=0, atol=4 * float(drawn.std(0).max()) / 300**0.5)


def test_group_ips_weighs_by_the_share_of_the_group_among_the_clicks_on_an_item(clicks):
    method = methods.GroupIPS(groups=3, share_min=0.3, **QUICK)
    batch, _ = started(method, clicks)
    groups, rows = user_groups(clicks, "activeness", 3), clicks.train
    weights = []
    for user, item in zip(batch.samples.users.tolist(), batch.samples.items.tolist(), strict=True):
        counts = np.bincount(groups[rows.users[rows.items == item]], minlength=3) + 1
        weights.append(1 / max(counts[groups[user]] / counts.sum(), 0.3))
    np.testing.assert_allclose(method.weights(batch), np.array(weights) / np.mean(weights), rtol=1e-5)


def test_causalrec_weighs_clicks_by_their_inverse_exposure(clicks):
    method = methods.CausalRec(clip_min=0.3, exposure_factors=3, **QUICK)
    batch, _ = started(method, clicks)
    rates = method.exposure_.rates(batch.samples.users.numpy(), batch.samples.items.numpy())
    inverse = 1 / np.maximum(1 - np.exp(-rates), 0.3)
    clicked = batch.labels.numpy() > 0
    expected = np.where(clicked, inverse / inverse[clicked].mean(), 1)
    np.testing.assert_allclose(method.weights(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("base", BASES)
def test_derec_adds_the_expected_exposure_by_user(clicks, base):
    method = methods.DeRec(base=base, exposure_factors=3, confounder_l2=0.5, **QUICK)
    batch, plain = started(method, clicks)
    with torch.no_grad():
        method.model_.confounder_weight.copy_(torch.linspace(-1, 1, method.n_users_))
    encoded = method.model_.encode(batch.samples, training=True)
    gamma = method.model_.confounder_weight[batch.samples.users]
    rates = method.exposure_.rates(batch.samples.users.numpy(), batch.samples.items.numpy())
    torch.testing.assert_close(encoded.logits, plain.logits + gamma * torch.from_numpy(rates))
    expected = bce(encoded.logits, batch.labels) + 0.25 * gamma.square().mean()
    torch.testing.assert_close(method.loss(batch, encoded), expected)


def test_teachers_know_their_own_users_and_are_fitted_once(clicks):
    method = methods.CausalD(**TAUGHT).fit(clicks)
    groups = user_groups(clicks, "activeness", 3)
    for group, teacher in enumerate(method.teachers_):
        known = np.flatnonzero(np.diff(teacher.catalogue_.seen_offsets))
        assert known.tolist() == np.flatnonzero(groups == group).tolist()
    assert methods.MEAL(**TAUGHT).fit(clicks).teachers_ == method.teachers_
    assert group_teachers(method, clicks, "activeness", 3) == method.teachers_
    assert methods.MEAL(**{**TAUGHT, "grouping": "random"}).fit(clicks).teachers_ != method.teachers_


@pytest.mark.parametrize("base", BASES)
def test_click_models_learn_which_half_of_the_items_a_user_is_in(clicks, base):
    learned = methods.make(base, max_epochs=40, batch_size=64, lr=0.05).fit(clicks)
    table = debiasrec.evaluate({base: learned}, clicks, ks=(5,))
    assert table["biased", "uauc"].iloc[0] > 0.7
    assert np.isnan(table["biased", "mse"].iloc[0])
    assert "snips" not in table.columns.get_level_values(0)


def test_validation_is_scored_from_the_clicks_before_it(clicks):
    method = methods.PlainDIN(**QUICK).fit(clicks)
    rows = clicks.biased_validation
    before, after = method.predict_validation(rows.users, rows.items), method.predict(rows.users, rows.items)
    assert not np.allclose(before, after)
    best = method.history_["validation"].max()
    assert debiasrec.evaluation.validation_auc(method, clicks) == pytest.approx(best, abs=1e-6)


def test_coefficients_are_searched_without_a_test_row(clicks):
    options = {"base": "deepfm", "groups": 2, "max_epochs": 1, "batch_size": 64}
    tuning = debiasrec.tune("causald", clicks, trials=2, options=options)
    assert {*tuning.space} == {"label_strength", "feature_strength"} <= set(tuning.best["params"])


def test_a_group_without_clicks_is_told(clicks):
    nobody = dataclasses.replace(clicks, train=clicks.train.take(slice(0, 0)))
    with pytest.raises(ValueError, match="method din: no clicks to train on"):
        methods.PlainDIN(**QUICK).fit(nobody)


@pytest.mark.parametrize("name", ["din", "causald"])
def test_a_split_without_time_order_is_refused(split, name):
    with pytest.raises(ValueError, match=f"method {name} needs the split 'leave_one_out' .* got 'interd'"):
        methods.make(name).fit(split)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("causald", {"base": "wide"}, "base must be one of din, deepfm, got 'wide'"),
        ("causald", {"feature": "both"}, "feature must be one of causal, vanilla"),
        ("causald", {"groups": 0}, "groups must be a whole number, at least 1"),
        ("din", {"target": "signed"}, "target must be one of binary"),
        ("kd", {"temperature": 0}, "temperature must be a number above 0"),
        ("causalrec", {"clip_min": 2.0}, "clip_min must be a number above 0 and at most 1"),
    ],
)
def test_options_out_of_range_are_refused(clicks, name, options, message):
    with pytest.raises(ValueError, match=message):
        methods.make(name, **options).fit(clicks)
