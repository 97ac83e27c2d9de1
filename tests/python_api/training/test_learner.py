from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import MatrixFactorization
from debiasrec.training import Batch, FlatLoader, LossLearner, RowLearner


def batch(users, items, user_block=(0, 1, 2), item_block=(0, 1)) -> Batch:
    as_index = torch.tensor
    blocks = as_index(user_block), as_index(item_block)
    return Batch(as_index(users), as_index(items), {}, blocks, np.random.default_rng(0))


LEARNERS = ("row", "loss")


def learner_of(kind, model, optimizer, lr, l2, l2_rows, reduction="sum"):
    options = {"optimizer": optimizer, "lr": lr, "l2": l2, "l2_rows": l2_rows}
    return RowLearner(model, reduction=reduction, **options) if kind == "row" else LossLearner(model, **options)


def step(learner, pairs, targets, weights, scale=1.0, reduction="sum"):
    if isinstance(learner, RowLearner):
        return learner.step(pairs, targets, weights, scale=scale)
    loss = learner.model.loss(pairs.users, pairs.items, targets, weights, reduction)
    learner.update(loss, pairs, scale=scale)
    return loss.detach()


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize(
    ("l2_rows", "decayed_users", "decayed_items"),
    [("touched", [1, 0, 1, 0], [0, 1, 0]), ("block", [1, 1, 1, 0], [1, 1, 0])],
)
def test_decay_reaches_each_distinct_row_once_and_no_bias(kind, l2_rows, decayed_users, decayed_items):
    model = MatrixFactorization(4, 3, 2, seed=0)
    before = {name: table.detach().clone() for name, table in model.tables().items()}
    learner = learner_of(kind, model, "sgd", 0.5, 0.2, l2_rows)
    # User 0 and item 1 occur several times; weights of 0 leave the decay alone.
    pairs = batch([0, 0, 2], [1, 1, 1])
    step(learner, pairs, torch.ones(3), torch.zeros(3), scale=0.3)
    users, items = (1 - 0.5 * 0.2 * 0.3 * torch.tensor(rows).unsqueeze(1) for rows in (decayed_users, decayed_items))
    torch.testing.assert_close(model.user_factors.detach(), before["user_factors"] * users)
    torch.testing.assert_close(model.item_factors.detach(), before["item_factors"] * items)
    assert torch.equal(model.user_bias, before["user_bias"])
    assert torch.equal(model.item_bias, before["item_bias"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("l2_rows", ["touched", "block"])
@pytest.mark.parametrize("weighted", [True, False])
def test_fused_steps_are_the_steps_down_the_loss(optimizer, reduction, l2_rows, weighted):
    models = [MatrixFactorization(4, 3, 2, seed=0, offset=0.25) for _ in LEARNERS]
    learners = [
        learner_of(kind, model, optimizer, 0.02, 0.3, l2_rows, reduction)
        for kind, model in zip(LEARNERS, models, strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    pairs = batch([0, 2, 0, 1, 2], [1, 1, 0, 1, 1])
    for _ in range(4):
        targets, weights = torch.randn(5, generator=generator), torch.rand(5, generator=generator)
        weights = weights if weighted else None
        losses = [step(learner, pairs, targets, weights, 0.5, reduction) for learner in learners]
        torch.testing.assert_close(losses[0].float(), losses[1])
    for fused, plain in zip(*(model.tables().values() for model in models), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_an_epoch_is_the_steps_over_its_batches(reduction):
    generator = torch.Generator().manual_seed(1)
    columns = {
        "users": torch.randint(9, (70,), generator=generator),
        "items": torch.randint(7, (70,), generator=generator),
    }
    columns |= {"targets": torch.randn(70, generator=generator), "weights": torch.rand(70, generator=generator)}
    loader = FlatLoader(columns, batch_size=16, seed=3)
    models = [MatrixFactorization(9, 7, 2, seed=0) for _ in "ab"]
    whole, stepped = (learner_of("row", model, "adam", 0.02, 0.3, "touched", reduction) for model in models)
    for number in (1, 2):
        got = whole.epoch(loader, number, lambda length: 1 / length)
        losses = [
            stepped.step(pairs, pairs["targets"], pairs["weights"], scale=1 / len(pairs))
            for pairs in loader.epoch(number)
        ]
        torch.testing.assert_close(got, torch.stack(losses).mean())
    for a, b in zip(*(model.tables().values() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("kind", LEARNERS)
def test_tensors_are_live_and_hold_all_that_a_step_changes(kind):
    model = MatrixFactorization(4, 3, 2, seed=0)
    learner = learner_of(kind, model, "adam", 0.1, 0.0, "touched")
    held = learner.tensors()
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    step(learner, batch([0, 1, 2, 3], [0, 1, 2, 0]), torch.ones(4), None)
    assert len(held) == 4 + 1 + 8
    assert all(not torch.equal(held[name], before[name]) for name in held)
