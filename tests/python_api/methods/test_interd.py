from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from debiasrec import evaluate, load, methods
from debiasrec.data import Interactions
from debiasrec.methods.options import ranges
from debiasrec.methods.teachers import fit_teachers, fitted_teacher

LR, L2 = 0.05, 0.3
BLOCK = {"factors": 2, "batching": "block", "user_block": 4, "item_block": 3, "optimizer": "sgd", "lr": LR}
RATINGS = np.array([[5, 1, np.nan], [np.nan, 2, 4], [3, np.nan, np.nan], [np.nan, 5, np.nan]])


@pytest.fixture
def tiny(hand):
    """A 4 x 3 matrix with a uniform rating of a missing pair, and two fitted teachers."""
    split = hand(RATINGS)
    split = replace(split, uniform_train=Interactions([3], [2], [5.0]))
    quick = {"factors": 2, "max_epochs": 30, "lr": 0.1}
    teachers = {
        "biased_teacher": methods.MF(seed=1, **quick).fit(split),
        "debiased_teacher": methods.MFCombine(seed=2, **quick).fit(split),
    }
    return split, teachers


def in_float64(method, split):
    """The method before its first step, with float64 tables, and its one batch."""
    loader = method._start(split, "cpu")
    method.begin_epoch(1)
    for model in (method.model_, *method._teachers):
        for name, table in model.tables().items():
            setattr(model, name, table.detach().double().requires_grad_(model is method.model_))
    method.learners_ = method.learners_ | {"rating": method._loss_learner(method.model_, method.lr, method.l2)}
    batch = next(loader.epoch(1))
    return replace(batch, columns={name: column.double() for name, column in batch.columns.items()})


def matrix(model):
    return model.user_factors @ model.item_factors.T + model.user_bias[:, None] + model.item_bias + model.offset


def interpolated(biased, debiased, known, gamma, epsilon=1e-12):
    errors = [torch.log((scores - known) ** 2 + epsilon) for scores in (biased, debiased)]
    weight = torch.sigmoid(gamma * (errors[0] - errors[1]))
    return weight * biased + (1 - weight) * debiased


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("name", ["interd", "interd_i"])
def test_a_step_is_that_of_plain_torch_in_float64(tiny, name, reduction):
    split, teachers = tiny
    options = {"gamma_missing": -1.5, "beta": 0.7, "l2": L2, "reduction": reduction}
    method = methods.make(name, **BLOCK, **options, **teachers)
    batch = in_float64(method, split)
    biased, debiased = (matrix(model) for model in method._teachers)

    tables = {key: table.detach().clone().requires_grad_() for key, table in method.model_.tables().items()}
    scores = tables["user_factors"] @ tables["item_factors"].T + tables["user_bias"][:, None] + tables["item_bias"]
    rated = torch.zeros(4, 3, dtype=torch.bool)
    rated[batch.users, batch.items] = True
    known = scores.detach() if name == "interd" else torch.zeros_like(scores)
    missing_target = interpolated(biased, debiased, known, -1.5)
    rated_loss = ((scores[batch.users, batch.items] - batch["targets"]) ** 2).sum()
    missing_loss = ((scores - missing_target)[~rated] ** 2).sum()
    assert (len(batch), int(rated.sum())) == (7, 7)
    mean = reduction == "mean"
    loss = rated_loss / 7 + 0.7 * missing_loss / 5 if mean else rated_loss + 0.7 * missing_loss
    gradients = torch.autograd.grad(loss, list(tables.values()))

    assert float(method.step(batch)) == pytest.approx(float(loss.detach()), rel=1e-12)
    for (key, table), gradient in zip(tables.items(), gradients, strict=True):
        decay = (L2 / 7 if mean else L2) if key.endswith("factors") else 0.0
        expected = table - LR * (gradient + decay * table)
        torch.testing.assert_close(method.model_.tables()[key], expected, rtol=0, atol=1e-12)


def targets_of(method, split):
    rows = method.training_rows(split)
    method._describe(split)
    fit_teachers(method, split, "cpu")
    pair = [torch.from_numpy(t.fit(split).predict(rows.users, rows.items)) for t in teachers_of(method)]
    return (
        torch.from_numpy(method.prepare(split, rows)["targets"]),
        *pair,
        torch.from_numpy(method.encode(rows.ratings)),
    )


def teachers_of(method):
    return method.biased_teacher, method.debiased_teacher


def test_rated_targets_lie_between_the_teachers_by_their_errors(tiny):
    split, teachers = tiny
    target, biased, debiased, ratings = targets_of(methods.InterDO(gamma_observed=-0.4, **teachers), split)
    torch.testing.assert_close(target, interpolated(biased, debiased, ratings, -0.4, 1e-8), rtol=1e-5, atol=1e-6)


def test_gamma_zero_takes_the_mean_of_the_teachers(tiny):
    split, teachers = tiny
    options = {"gamma_observed": 0.0, "gamma_missing": 0.0, "beta": 1.0, "reduction": "sum", "l2": 0.0}
    method = methods.InterD(**BLOCK, **options, **teachers)
    target, biased, debiased, _ = targets_of(method, split)
    torch.testing.assert_close(target, (biased + debiased) / 2)
    batch = in_float64(method, split)
    biased, debiased = (matrix(model) for model in method._teachers)
    middle = (biased + debiased) / 2
    middle[batch.users, batch.items] = batch["targets"]
    expected = ((matrix(method.model_) - middle) ** 2).sum()
    assert float(method.loss(batch).detach()) == pytest.approx(float(expected.detach()), rel=1e-12)


def test_interd_b_is_the_limit_of_large_gammas(tiny):
    split, teachers = tiny
    options = {"beta": 1.0, "reduction": "sum", **teachers}
    hard = methods.InterDB(**BLOCK, **options)
    soft = methods.InterD(**BLOCK, gamma_observed=-1e4, gamma_missing=-1e4, **options)
    target, biased, debiased, ratings = targets_of(hard, split)
    nearer = torch.where((biased - ratings).abs() < (debiased - ratings).abs(), biased, debiased)
    torch.testing.assert_close(target, nearer)
    torch.testing.assert_close(targets_of(soft, split)[0], nearer)
    losses = [float(method.loss(in_float64(method, split)).detach()) for method in (hard, soft)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.parametrize("batching", ["flat", "block"])
def test_beta_zero_is_interd_o(split, batching):
    options = {"batching": batching, "user_block": 50, "item_block": 40, "optimizer": "sgd", "lr": 0.01}
    options |= {"reduction": "sum", "max_epochs": 3}
    options |= {"biased_teacher": methods.MF(max_epochs=3), "debiased_teacher": methods.IPS(max_epochs=3)}
    whole, rated = methods.InterD(beta=0.0, **options).fit(split), methods.InterDO(**options).fit(split)
    for name, table in whole.model_.tables().items():
        torch.testing.assert_close(table, rated.model_.tables()[name], rtol=1e-4, atol=1e-6)


def test_identical_teachers_are_copied(split):
    """The student ends at the common scores: nothing is singular where it meets its teachers."""
    teacher = methods.MF(max_epochs=10).fit(split)
    options = {"biased_teacher": teacher, "debiased_teacher": teacher, "initial": "biased", "l2": 0.0}
    method = methods.InterD(max_epochs=3, optimizer="sgd", lr=0.1, **options).fit(split)
    pairs = split.uniform_test.users, split.uniform_test.items
    np.testing.assert_allclose(method.predict(*pairs), teacher.predict(*pairs), atol=1e-5)


def test_flat_batches_estimate_the_block_loss(split):
    data, uniform = split.dataset, split.uniform_train
    # Pairs that were rated in both parts count as two rated ones.
    once = ~np.isin(uniform.pairs(data.n_items), split.train.pairs(data.n_items))
    split = replace(split, uniform_train=uniform.take(once))
    teachers = {"biased_teacher": methods.MF(max_epochs=5), "debiased_teacher": methods.IPS(max_epochs=5)}
    options = {"reduction": "sum", "initial": "random", "beta": 1.0, **teachers}
    block = {"batching": "block", "user_block": data.n_users, "item_block": data.n_items}
    whole = methods.InterD(**block, **options)
    expected = float(whole.loss(next(whole._start(split, "cpu").epoch(1))).detach())
    flat = methods.InterD(batch_size=1 << 20, **options)
    loader = flat._start(split, "cpu")
    totals = []
    for epoch in range(1, 31):
        flat.begin_epoch(epoch)
        totals += [float(flat.loss(batch).detach()) for batch in loader.epoch(epoch)]
    assert np.mean(totals) == pytest.approx(expected, abs=4 * np.std(totals) / 30**0.5)
    assert np.std(totals) > 0


def test_a_student_starts_at_the_teacher_that_it_is_told(split):
    teachers = {"biased_teacher": methods.MF(max_epochs=2), "debiased_teacher": methods.IPS(max_epochs=2)}
    for initial in ("biased", "debiased"):
        method = methods.InterD(initial=initial, **teachers)
        method._start(split, "cpu")
        source = getattr(method, f"{initial}_teacher_").model_
        assert torch.equal(method.model_.item_factors, source.item_factors)
        assert method.model_.item_factors is not source.item_factors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"biased_teacher": methods.MF(target="stars")},
            "biased_teacher mf predicts 'stars' targets",
        ),
        ({"debiased_teacher": methods.MF(factors=3)}, "interd with 10 factors cannot start from mf with 3 factors"),
        ({"biased_teacher": methods.MFTFROM(), "batching": "block"}, "needs a matrix factorisation here, and mf_tfrom"),
        ({"gamma_missing": 0.5}, r"gamma_missing must be a number, at most 0, got 0\.5"),
        ({"biased_teacher": "nobody"}, "biased_teacher must be the name of a method or a method, got 'nobody'"),
    ],
)
def test_teachers_and_options_that_do_not_fit_are_refused(split, options, message):
    teachers = {"biased_teacher": "mf", "debiased_teacher": "ips"}
    with pytest.raises(ValueError, match=message):
        methods.InterD(**{**teachers, "max_epochs": 1, **options}).fit(split)


@pytest.fixture
def published(tiny):
    """InterD as the public program computes it, with an AutoDebias whose weights differ visibly from 1."""
    split, teachers = tiny
    autodebias = methods.AutoDebias(factors=2, max_epochs=30, lr=0.1, w1_lr=0.5, w2_lr=0.5, imputation_lr=0.5).fit(
        split
    )
    options = {"gamma_observed": -0.4, "gamma_missing": -1.5, "beta": 0.7, "l2": 0.0, "reduction": "sum"}
    options |= {"biased_teacher": teachers["biased_teacher"], "debiased_teacher": autodebias, "published": True}
    return split, methods.InterD(**BLOCK, **options), autodebias


def test_published_targets_use_the_weighted_error_of_autodebias(published):
    split, method, autodebias = published
    target, biased, debiased, ratings = targets_of(method, split)
    rows = method.training_rows(split)
    values = torch.tanh(autodebias.imputation_.detach())
    (a, b, c), (a2, b2, c2) = ([t.detach() for t in w.tables().values()] for w in (autodebias.w1_, autodebias.w2_))
    for k, (user, item) in enumerate(zip(rows.users, rows.items, strict=True)):
        label = int(ratings[k] > 0)
        w1 = torch.exp((a[user] + b[item] + c[label]) / 5)
        w2 = torch.exp((a2[user] + b2[item] + c2[1]) / 5)
        debiased_loss = w1 * (debiased[k] - ratings[k]) ** 2 + w2 * (debiased[k] - values[1 + label]) ** 2
        log_odds = torch.log((biased[k] - ratings[k]) ** 2 + 1e-8) - torch.log(debiased_loss + 1e-8)
        weight = torch.sigmoid(-0.4 * log_odds)
        torch.testing.assert_close(target[k], weight * biased[k] + (1 - weight) * debiased[k], rtol=1e-5, atol=1e-6)


def test_a_published_step_runs_through_the_targets_of_missing_pairs(published):
    split, method, autodebias = published
    batch = in_float64(method, split)
    biased, debiased = (matrix(model) for model in method._teachers)
    tables = {key: table.detach().clone().requires_grad_() for key, table in method.model_.tables().items()}
    scores = tables["user_factors"] @ tables["item_factors"].T + tables["user_bias"][:, None] + tables["item_bias"]
    a, b, c = (t.detach() for t in autodebias.w2_.tables().values())
    w2 = torch.exp((a[:, None] + b + c[0]) / 5)
    debiased_loss = w2 * (torch.tanh(autodebias.imputation_.detach()[0]) - scores) ** 2
    weight = torch.sigmoid(-1.5 * (torch.log((biased - scores) ** 2 + 1e-12) - torch.log(debiased_loss + 1e-12)))
    missing = (scores - weight * biased - (1 - weight) * debiased) ** 2
    missing[batch.users, batch.items] = 0.0
    loss = ((scores[batch.users, batch.items] - batch["targets"]) ** 2).sum() + 0.7 * missing.sum()
    gradients = torch.autograd.grad(loss, list(tables.values()))
    assert float(method.step(batch)) == pytest.approx(float(loss.detach()), rel=1e-6)
    for (key, table), gradient in zip(tables.items(), gradients, strict=True):
        torch.testing.assert_close(method.model_.tables()[key], table - LR * gradient, rtol=1e-5, atol=1e-6)


def test_published_behaviour_needs_blocks_and_an_autodebias_fitted_here(published):
    split, method, _ = published
    with pytest.raises(ValueError, match='published=True needs batching="block"'):
        methods.InterD(published=True).fit(split)
    method.debiased_teacher = methods.MF(factors=2, max_epochs=1)
    with pytest.raises(ValueError, match=r"needs debiased_teacher to be autodebias, .*got mf"):
        method.fit(split)


@pytest.mark.parametrize(
    ("student", "options"),
    [
        ("interd", {"biased_teacher": methods.MF(), "debiased_teacher": methods.IPS(target="stars")}),
        ("interd", {"biased_teacher": methods.MF(), "debiased_teacher": methods.NFIPS()}),
        ("interd", {"biased_teacher": methods.NF(), "debiased_teacher": methods.MF(), "batching": "block"}),
        ("interd", {"biased_teacher": methods.MF(), "debiased_teacher": "ips", "published": True, "batching": "block"}),
        ("ensemble", {"biased_teacher": methods.MF(), "debiased_teacher": methods.MFTFROM()}),
        ("kd_label", {"debiased_teacher": methods.MF(), "initial": methods.NF()}),
        ("bal_mf", {"initial": methods.PMFNMAR()}),
        ("mf_tfrom", {"base": methods.NF()}),
    ],
)
def test_teachers_are_refused_before_any_of_them_is_fitted(split, monkeypatch, student, options):
    method, fit = methods.make(student, **options), methods.Method.fit

    def of_the_student(self, *args, **settings):
        assert self is method, f"{self.name} was fitted"
        return fit(self, *args, **settings)

    monkeypatch.setattr(methods.Method, "fit", of_the_student)
    with pytest.raises(ValueError, match=r"predicts 'stars' targets|needs a matrix factorisation|to be autodebias"):
        method.fit(split)


@pytest.mark.parametrize(
    ("student", "option"),
    [
        ("interd_o", "biased_teacher"),
        ("interd", "debiased_teacher"),
        ("kd_label", "debiased_teacher"),
        ("kd_label", "initial"),
        ("ensemble", "biased_teacher"),
        ("bal_mf", "initial"),
        ("mf_tfrom", "base"),
    ],
)
def test_teachers_are_fitted_on_the_device_of_the_student(split, monkeypatch, student, option):
    fitted = methods.MF(max_epochs=1).fit(split)
    given = {name: fitted for name in ranges(methods.REGISTRY[student]) if name.endswith("teacher")}
    method, fit = methods.make(student, **{**given, option: methods.MF(seed=50)}), methods.Method.fit

    def on_a_device(self, *args, device="cpu", **settings):
        raise RuntimeError(f"{self.name} on {device}")

    monkeypatch.setattr("debiasrec.methods.base.check_device", lambda device: None)
    monkeypatch.setattr(methods.Method, "fit", on_a_device)
    with pytest.raises(RuntimeError, match="mf on cuda:1"):
        fit(method, split, device="cuda:1")


def test_a_teacher_of_other_data_is_refused(split, hand):
    stranger = methods.MF(max_epochs=1).fit(hand([[5.0, 1.0], [2.0, 4.0]]))
    with pytest.raises(ValueError, match="was fitted to 2 users and 2 items, expected 120 and 60"):
        methods.InterD(biased_teacher=stranger).fit(split)


def test_a_student_is_nearer_to_the_truth_than_its_biased_teacher():
    split = load("simulated").split("interd", 0)
    quick = {"max_epochs": 40, "lr": 0.03}
    biased, debiased = methods.MFCombine(**quick).fit(split), methods.IPS(**quick).fit(split)
    teachers = {"biased_teacher": biased, "debiased_teacher": debiased}
    student = methods.InterD(batching="block", max_epochs=10, **teachers).fit(split)
    truth = evaluate({"biased": biased, "student": student}, split)["truth", "uauc"]
    assert truth["student"] > truth["biased"] + 0.01


def test_a_copy_keeps_the_fitted_teachers_and_is_itself_not_fitted(split):
    teacher = methods.MF(max_epochs=2).fit(split)
    student = methods.InterD(biased_teacher=teacher, debiased_teacher="ips", max_epochs=1)
    copy = clone(student)
    assert copy.biased_teacher is teacher
    assert copy.debiased_teacher == "ips"
    assert not hasattr(clone(teacher), "history_")
    other = methods.MF(max_epochs=2, seed=0).fit(split)
    with torch.no_grad():
        other.model_.user_bias += 1.0
    fits = [fitted_teacher(methods.InterD(biased_teacher=t, max_epochs=1), split) for t in (teacher, other)]
    assert [fit.biased_teacher_ for fit in fits] == [teacher, other]
