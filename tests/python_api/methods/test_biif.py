"""Hypergradients of learned exposures against a double backward through the written-out step, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from debiasrec import methods
from debiasrec.data.clicks import surely_seen

LR, STEP_LR, L2 = 0.05, 0.7, 0.4


def started(name, split, **options):
    """The method before its first step, with every model in float64, random and not small, and its first batch."""
    given = {"factors": 3, "lr": LR, "l2": L2, "batch_size": 300, "max_epochs": 1, "step_lr": STEP_LR, **options}
    known = methods.REGISTRY[name]._get_param_names()
    method = methods.make(name, **{option: value for option, value in given.items() if option in known})
    loader = method._start(split, "cpu")
    generator = torch.Generator().manual_seed(5)
    for tables in (method.model_.tables(), method.exposure_.tables()):
        for table in tables.values():
            table.data = 0.5 * torch.randn(table.shape, generator=generator, dtype=torch.float64)
    for constant, table in method.model_.constants().items():
        setattr(method.model_, constant, table.double())
    method.exposure_.popularity = method.exposure_.popularity.double()
    for columns in (loader.columns, getattr(method, "upper_", {})):
        columns.update({key: value.double() for key, value in columns.items() if value.is_floating_point()})
    return method, next(loader.epoch(1))


def exposures_of(method, q, users, items):
    e, c, c0 = method.exposure_.tables().values()
    rho = torch.sigmoid(q[items] @ c[0] + c0)
    return rho * torch.sigmoid((e[users] * q[items]).sum(1)) + (1 - rho) * method.exposure_.popularity[items]


def likelihood(method, batch, p, q, x):
    relevance = torch.sigmoid((p[batch.users] * q[batch.items]).sum(1))
    clicks = batch["targets"]
    terms = -clicks * torch.log(x * relevance) - (1 - clicks) * torch.log(1 - x * relevance)
    return terms.mean() if method.reduction == "mean" else terms.sum()


def after_a_step(method, batch, upper_of, step):
    """upper_of(theta') in the graph of phi; `step` turns the gradients into the changes of the tables."""
    p, q = (table.detach().clone().requires_grad_() for table in method.model_.tables().values())
    x = exposures_of(method, q.detach() if method.detach_item else q, batch.users, batch.items)
    scale = 1.0 if method.reduction == "sum" else 1.0 / len(batch)
    norm = p[batch.users.unique()].square().sum() + q[batch.items.unique()].square().sum()
    loss = likelihood(method, batch, p, q, x) + scale * L2 / 2 * norm
    gradients = torch.autograd.grad(loss, (p, q), create_graph=True)
    return upper_of(p.detach() - step("user_factors", gradients[0]), q.detach() - step("item_factors", gradients[1]))


def of_seen_pairs(method):
    def upper(p, q):
        rows = method.upper_
        return F.binary_cross_entropy_with_logits((p[rows["users"]] * q[rows["items"]]).sum(1), rows["targets"])

    return upper


def plain(name, gradient):
    return STEP_LR * gradient


def assert_same(method, got, expected):
    phi = list(method.exposure_.tables().values())
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    for a, b in zip(torch.autograd.grad(got, phi), torch.autograd.grad(expected, phi), strict=True):
        assert bool(b.any())
        torch.testing.assert_close(a.to_dense(), b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


@pytest.mark.parametrize("detach_item", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_biif(split, reduction, detach_item):
    method, batch = started("biif", split, reduction=reduction, detach_item=detach_item)
    expected = after_a_step(method, batch, of_seen_pairs(method), plain)
    assert_same(method, method.after_step(batch, method.lower(batch)), expected)


def test_the_assumed_step_of_adam_is_the_one_that_the_model_takes(split):
    method, batch = started("biif", split, assumed="adam")
    state = method.learners_["rating"].optimizer.state
    state.update({key: moment.double() for key, moment in state.items()})
    method.rating_step(batch, method.exposures(batch))
    steps = 2

    def adam(name, gradient):
        first = 0.9 * state[f"{name}.first"] + 0.1 * gradient
        second = 0.999 * state[f"{name}.second"] + 0.001 * gradient.square()
        return LR * first / (1 - 0.9**steps) / ((second / (1 - 0.999**steps) + 1e-300).sqrt() + 1e-8)

    expected = after_a_step(method, batch, of_seen_pairs(method), adam)
    assert_same(method, method.after_step(batch, method.lower(batch)), expected)


@pytest.mark.parametrize("detach_item", [True, False])
def test_both_models_of_biif_step_from_the_same_tables(split, detach_item):
    method, batch = started("biif", split, optimizer="sgd", exposure_lr=0.2, reduction="sum", detach_item=detach_item)
    p, q = (table.detach().clone().requires_grad_() for table in method.model_.tables().values())
    phi = [table.detach().clone() for table in method.exposure_.tables().values()]
    hyper = torch.autograd.grad(method.after_step(batch, method.lower(batch)), list(method.exposure_.tables().values()))
    x = exposures_of(method, q.detach() if detach_item else q, batch.users, batch.items)
    loss = likelihood(method, batch, p, q, x)
    norm = p[batch.users.unique()].square().sum() + q[batch.items.unique()].square().sum()
    gradients = torch.autograd.grad(loss + L2 / 2 * norm, (p, q))
    assert float(method.step(batch)) == pytest.approx(float(loss.detach()), rel=1e-9)
    for table, before, g in zip(method.model_.tables().values(), (p, q), gradients, strict=True):
        torch.testing.assert_close(table, before - LR * g, rtol=1e-9, atol=1e-9)
    for table, before, g in zip(method.exposure_.tables().values(), phi, hyper, strict=True):
        torch.testing.assert_close(table, before - 0.2 * g, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("negatives", ["rated", "all"])
def test_the_seen_pairs_come_from_the_training_rows_and_stay_there(split, negatives):
    method, batch = started("biif", split, negatives=negatives, batch_size=10_000)
    seen = method.upper_
    keys = seen["users"] * split.dataset.n_items + seen["items"]
    trained = batch.users * split.dataset.n_items + batch.items
    assert bool(torch.isin(keys, trained).all())
    if negatives == "rated":
        rows = surely_seen(split, unrated=False)
        np.testing.assert_array_equal(keys.numpy(), rows.pairs(split.dataset.n_items))


def test_adams_assumed_step_needs_adam_and_detached_items(split):
    for options in ({"optimizer": "sgd"}, {"detach_item": False}):
        with pytest.raises(ValueError, match='assumed="adam" needs optimizer="adam" and detach_item=true'):
            methods.Biif(assumed="adam", **options).fit(split)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_biopt2_takes_the_batch_for_its_upper_problem(split, reduction):
    method, batch = started("biopt2", split, reduction=reduction)
    q = method.model_.item_factors.detach()

    def upper(p_after, q_after):
        x = exposures_of(method, q, batch.users, batch.items)
        return likelihood(method, batch, p_after, q_after, x)

    expected = after_a_step(method, batch, upper, plain)
    assert_same(method, method.after_step(batch, method.lower(batch)), expected)


@pytest.mark.parametrize("detach_item", [True, False])
@pytest.mark.parametrize("name", ["joint_opt", "alter_opt"])
def test_both_models_step_down_one_loss_at_once_or_in_turns(split, name, detach_item):
    options = {"optimizer": "sgd", "exposure_lr": 0.2, "reduction": "sum", "l2": 0.0, "detach_item": detach_item}
    method, batch = started(name, split, **options)
    p, q = (table.detach().clone().requires_grad_() for table in method.model_.tables().values())
    phi = list(method.exposure_.tables().values())
    before = [table.detach().clone() for table in phi]

    def loss_at(p, q):
        x = exposures_of(method, q.detach() if detach_item else q, batch.users, batch.items)
        return likelihood(method, batch, p, q, x)

    of_tables = torch.autograd.grad(loss_at(p, q), (p, q))
    moved = [table.detach() - LR * g for table, g in zip((p, q), of_tables, strict=True)]
    at = (p, q) if name == "joint_opt" else moved
    of_phi = torch.autograd.grad(loss_at(*at), phi)
    loss = float(loss_at(p, q).detach())
    assert float(method.step(batch)) == pytest.approx(loss, rel=1e-9)
    for table, expected in zip(method.model_.tables().values(), moved, strict=True):
        torch.testing.assert_close(table, expected, rtol=1e-9, atol=1e-9)
    for table, start, g in zip(phi, before, of_phi, strict=True):
        torch.testing.assert_close(table, start - 0.2 * g, rtol=1e-9, atol=1e-9)


def test_biopt2_detaches_the_items(split):
    with pytest.raises(ValueError, match="biopt2: detach_item must be true, got False"):
        methods.BiOpt2(detach_item=False).fit(split)


def test_exposures_of_pairs_are_probabilities(split):
    method = methods.Biif(max_epochs=2).fit(split)
    users, items = np.divmod(np.arange(200), split.dataset.n_items)
    x = method.predict_exposure(users, items)
    assert x.shape == (200,)
    assert ((x > 0) & (x <= 1)).all()
    with pytest.raises(ValueError, match="users must be integers"):
        method.predict_exposure([0.5], [0])
