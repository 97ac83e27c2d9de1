from __future__ import annotations

import pytest
import torch

from debiasrec.training import TableLearner


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_steps_are_those_of_torch(optimizer, weight_decay):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    tables = {"a": draw(4, 2), "b": draw(3)}
    expected = {name: table.clone().requires_grad_() for name, table in tables.items()}
    learner = TableLearner(tables, optimizer=optimizer, lr=0.1, weight_decay=weight_decay)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    other = kind(expected.values(), lr=0.1, weight_decay=weight_decay)
    for _ in range(3):
        gradients = [draw(*table.shape) for table in tables.values()]
        for table, gradient in zip(expected.values(), gradients, strict=True):
            table.grad = gradient.clone()
        other.step()
        learner.step(gradients)
    for name, table in tables.items():
        torch.testing.assert_close(table, expected[name].detach(), rtol=1e-10, atol=1e-12)


def test_a_checkpoint_of_the_learner_holds_tables_and_moments():
    tables = {"a": torch.ones(2)}
    learner = TableLearner(tables, lr=0.1)
    assert set(learner.tensors()) == {"a", "optimizer.steps", "optimizer.a.first", "optimizer.a.second"}
    assert learner.tensors()["a"] is tables["a"]
