from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import FairLists, MatrixFactorization, Model, OrdinalFactorization, sampled_pairs


def test_score_is_dot_product_plus_biases_plus_offset():
    model = MatrixFactorization(2, 3, 2, seed=0, offset=0.5)
    with torch.no_grad():
        model.user_factors.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model.item_factors.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        model.user_bias.copy_(torch.tensor([0.1, 0.2]))
        model.item_bias.copy_(torch.tensor([0.01, 0.02, 0.03]))
    scores = model.score(torch.tensor([0, 1]), torch.tensor([2, 0]))
    torch.testing.assert_close(scores.detach(), torch.tensor([3.0 + 0.1 + 0.03 + 0.5, 3.0 + 0.2 + 0.01 + 0.5]))


def test_a_block_is_a_factor_model_with_its_scores():
    model = MatrixFactorization(7, 5, 3, seed=1, offset=-0.25)
    users, items = torch.tensor([4, 0, 6]), torch.tensor([1, 3])
    tables = model.block(users, items)
    block = tables.user_factors @ tables.item_factors.T + tables.user_bias.unsqueeze(1) + tables.item_bias
    pairs = torch.cartesian_prod(users, items)
    torch.testing.assert_close(block.flatten(), model.score(pairs[:, 0].contiguous(), pairs[:, 1].contiguous()))


def test_initial_values_depend_on_the_seed_alone_and_have_the_stated_spread():
    first, same, other = (MatrixFactorization(8000, 500, 10, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.user_factors, same.user_factors)
    assert not torch.equal(first.user_factors, other.user_factors)
    assert abs(float(first.user_factors.detach().std()) / np.sqrt(2 / 8000) - 1) < 0.02
    assert abs(float(first.item_factors.detach().std()) / np.sqrt(2 / 500) - 1) < 0.05


@pytest.mark.parametrize("model", [FairLists, OrdinalFactorization])
def test_factor_tables_alone_make_no_other_model(model):
    tables = MatrixFactorization(2, 3, 1).block(torch.arange(2), torch.arange(3))
    with pytest.raises(ValueError, match=f"{model.__name__} is made of more than factor tables"):
        model.of(tables)


def test_sampled_pairs_cover_all_pairs_evenly():
    users, items = sampled_pairs(3, 4, 24_000, np.random.default_rng(0), torch.device("cpu"))
    counts = torch.bincount(users * 4 + items, minlength=12)
    assert counts.sum() == 24_000
    assert ((counts - 2000).abs() < 5 * 2000**0.5).all()


def test_the_best_items_of_any_model_are_those_of_the_fused_search():
    model = MatrixFactorization(6, 9, 3, seed=2, offset=0.5)
    seen = np.array([0, 2, 2, 9, 9, 17, 17]), np.array([3, 4, *range(7), 8, 1, 0, 2, 3, 4, 5, 6, 7])
    users = np.array([4, 0, 5, 0])
    scores, items = Model.best(model, users, 4, seen=seen)
    fused_scores, fused_items = model.best(users, 4, seen=seen)
    assert items.tolist() == fused_items.tolist()
    assert (items == -1).any()
    np.testing.assert_allclose(scores, fused_scores, rtol=1e-5)
