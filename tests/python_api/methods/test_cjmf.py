"""CJMF: its batched steps against a loop over models, its estimates, its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from debiasrec.benchmarks.plain_cjmf import PlainCJMF

from debiasrec import methods

SMALL = {"copies": 3, "factors": 4, "batch_size": 500, "lr": 0.01, "l2": 2.0, "exposure_decay": 0.1}


def started(split, **options):
    method = methods.make("cjmf", **{**SMALL, **options})
    return method, method._start(split, "cpu")


def test_one_step_for_all_models_is_a_loop_over_them(split):
    method, loader = started(split)
    plain = PlainCJMF(method)
    losses = [(plain.epoch(loader, number), method.epoch(loader, number)) for number in (1, 2)]
    for expected, found in losses:
        assert found == pytest.approx(expected, rel=1e-5)
    for name, model in (("base", method.base_), ("both", method.model_)):
        for side, table in enumerate(model.tables().values()):
            expected = torch.cat([getattr(own, name)[side] for own in plain.models])
            torch.testing.assert_close(table.detach(), expected.detach(), rtol=1e-3, atol=2e-5)
    for number, table in enumerate(method.exposure_.tables().values()):
        expected = torch.stack([own.exposure[number] for own in plain.models])
        torch.testing.assert_close(table.detach(), expected.detach(), rtol=1e-3, atol=2e-5)


def test_estimates_of_a_click_come_from_the_model_that_never_saw_it(split):
    method, loader = started(split)
    method.epoch(loader, 1)
    users, items = loader.columns["users"], loader.columns["items"]
    part = method._parts.of(users, items)
    assert sorted(part.bincount().tolist())[0] >= len(users) // 3
    relevance, seen = method.estimates(users, items)
    every = method.base_.each(users, items).detach(), method._exposures(items).detach()
    for found, each in zip((relevance, seen), every, strict=True):
        torch.testing.assert_close(found, each[part, torch.arange(len(part))].clamp(0.01, 0.99))
    drawn = method._parts.draw(1, 2, 1, torch.device("cpu"))
    where = method._parts.of(drawn["users"], drawn["items"])
    assert (where[drawn["targets"] > 0] == 1).all()
    assert (where[drawn["targets"] == 0] != 1).all()
    assert (where == -1).any()
    other = where == -1
    pairs = drawn["users"][other], drawn["items"][other]
    torch.testing.assert_close(
        method.estimates(*pairs)[0], method.base_.each(*pairs).detach().mean(0).clamp(0.01, 0.99)
    )


def test_a_model_does_not_move_while_its_part_is_trained_on(split):
    method, _ = started(split)
    generator = np.random.default_rng(0)
    before = method.base_.user_factors.detach().clone()
    columns = method._parts.draw(1, 5, 1, torch.device("cpu"))
    for batch in method._batches(columns, generator):
        method._base_step(batch, torch.tensor([0, 2]))
    moved = (method.base_.user_factors.detach() != before).any(1).reshape(3, -1).any(1)
    assert moved.tolist() == [True, False, True]


def test_scores_are_mean_relevances_and_come_back(split, tmp_path):
    method = methods.make("cjmf", max_epochs=2, **SMALL).fit(split)
    users, items = split.uniform_test.users, split.uniform_test.items
    scores = method.predict(users, items)
    assert ((scores > 0) & (scores < 1)).all()
    p, q = (t.detach().numpy().reshape(3, -1, 4) for t in method.model_.tables().values())
    each = 1 / (1 + np.exp(-(p[:, users] * q[:, items]).sum(2)))
    np.testing.assert_allclose(scores, each.mean(0), rtol=1e-5)
    method.save(tmp_path)
    loaded = methods.load_model(tmp_path)
    np.testing.assert_array_equal(loaded.predict(users, items), scores)
    assert loaded.recommend([0, 5]).equals(method.recommend([0, 5]))
    found = method.predict_exposure(users, items)
    assert ((found > 0) & (found < 1)).all()


def test_too_few_clicks_are_named(hand):
    with pytest.raises(ValueError, match="copies=8 needs as many clicks, got 2"):
        methods.make("cjmf").fit(hand([[5.0, 1.0], [np.nan, 4.0]]))
