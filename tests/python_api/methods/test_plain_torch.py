"""Fused training ends where the same recipe in plain torch ends, over the same batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from debiasrec.benchmarks.plain_recipes import EnumeratedRecipe, PlainRecipe

import debiasrec
from debiasrec import methods


@pytest.mark.filterwarnings("ignore:.*uniform rows are also biased rows")
@pytest.mark.parametrize("name", ["mf", "mf_combine", "ips", "snips", "dr"])
def test_three_epochs_on_coat(name, data_root):
    split = debiasrec.load("coat", root=data_root / "coat").split("autodebias", seed=0)
    method = methods.make(name, **{**methods.preset(name, "coat"), "max_epochs": 3, "patience": 3})
    loader = method._start(split, "cpu")
    recipe = PlainRecipe(method)
    plain = [float(torch.stack([recipe.step(batch) for batch in loader.epoch(epoch)]).mean()) for epoch in (1, 2, 3)]
    method.begin_epoch(1)
    fused = [method.epoch(loader, epoch) for epoch in (1, 2, 3)]
    np.testing.assert_allclose(fused, plain, rtol=1e-5)
    tables = [model.tables() for model in (method.model_, getattr(method, "imputation_", None)) if model is not None]
    expected = [*recipe.rating.tables, *(recipe.imputation.tables if name == "dr" else ())]
    for table, plain_table in zip((t for group in tables for t in group.values()), expected, strict=True):
        torch.testing.assert_close(table, plain_table, rtol=1e-5, atol=1e-5)


def test_the_enumerated_recipe_is_the_one_with_matrices():
    data = debiasrec.load("simulated")
    split = data.split("autodebias", seed=0)
    method = methods.make("dr", **{**methods.preset("dr", "coat"), "propensity": "popularity"})
    loader = method._start(split, "cpu")
    recipes = [PlainRecipe(method), EnumeratedRecipe(method)]
    for batch in loader.epoch(1):
        losses = [float(recipe.step(batch)) for recipe in recipes]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for one, other in zip(*(recipe.rating.tables for recipe in recipes), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
