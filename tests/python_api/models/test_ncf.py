from __future__ import annotations

import torch

from debiasrec.models import NCF, ncf


def test_scores_are_a_hidden_layer_over_both_embeddings():
    model = NCF(5, 4, 3, seed=1)
    users, items = torch.tensor([0, 4, 2]), torch.tensor([3, 3, 0])
    inputs = torch.cat([model.user_factors[users], model.item_factors[items]], 1)
    layer = torch.cat([model.user_layer, model.item_layer], 1)
    expected = torch.relu(inputs @ layer.T + model.hidden_bias) @ model.output_layer
    torch.testing.assert_close(model.score(users, items), expected)


def test_a_grid_holds_the_scores_of_all_pairs_however_it_is_cut(monkeypatch):
    model = NCF(7, 5, 3, seed=1)
    users, items = torch.tensor([6, 0, 2, 3, 1]), torch.tensor([4, 1])
    every = model.score(users.repeat_interleave(2), items.repeat(5)).reshape(5, 2)
    wanted = torch.autograd.grad(every.square().sum(), list(model.tables().values()))
    for units in (1, 12, 1 << 20):
        monkeypatch.setattr(ncf, "_UNITS_AT_ONCE", units)
        grid = model.grid(users, items)
        torch.testing.assert_close(grid, every)
        torch.testing.assert_close(torch.autograd.grad(grid.square().sum(), list(model.tables().values())), wanted)
