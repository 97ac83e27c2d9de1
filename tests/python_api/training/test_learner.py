from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import MatrixFactorization
from debiasrec.training import Batch, Learner


def batch(users, items, user_block=(0, 1, 2), item_block=(0, 1)) -> Batch:
    as_index = torch.tensor
    blocks = as_index(user_block), as_index(item_block)
    return Batch(as_index(users), as_index(items), {}, blocks, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("l2_rows", "decayed_users", "decayed_items"),
    [("touched", [1, 0, 1, 0], [0, 1, 0]), ("block", [1, 1, 1, 0], [1, 1, 0])],
)
def test_decay_reaches_each_distinct_row_once_and_no_bias(l2_rows, decayed_users, decayed_items):
    model = MatrixFactorization(4, 3, 2, seed=0)
    before = {name: table.detach().clone() for name, table in model.tables().items()}
    learner = Learner(model, optimizer="sgd", lr=0.5, l2=0.2, l2_rows=l2_rows)
    # User 0 and item 1 occur several times; the loss itself has no slope.
    pairs = batch([0, 0, 2], [1, 1, 1])
    learner.update(0.0 * model.score(pairs.users, pairs.items).sum(), pairs, scale=0.3)
    users, items = (1 - 0.5 * 0.2 * 0.3 * torch.tensor(rows).unsqueeze(1) for rows in (decayed_users, decayed_items))
    torch.testing.assert_close(model.user_factors.detach(), before["user_factors"] * users)
    torch.testing.assert_close(model.item_factors.detach(), before["item_factors"] * items)
    assert torch.equal(model.user_bias, before["user_bias"])
    assert torch.equal(model.item_bias, before["item_bias"])


def test_tensors_are_live_and_hold_all_that_a_step_changes():
    model = MatrixFactorization(4, 3, 2, seed=0)
    learner = Learner(model, optimizer="adam", lr=0.1, l2=0.0, l2_rows="touched")
    held = learner.tensors()
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    pairs = batch([0, 1, 2, 3], [0, 1, 2, 0])
    learner.update(model.score(pairs.users, pairs.items).square().sum(), pairs)
    assert len(held) == 4 + 1 + 8
    assert all(not torch.equal(held[name], before[name]) for name in held)
