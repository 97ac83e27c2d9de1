from __future__ import annotations

import pytest
import torch

from debiasrec.training import TableLearner, make_optimizer


def run(name: str, steps: int, rows: int = 50, lr: float = 0.05) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(rows, 3, generator=generator)
    gradients = [torch.randn(rows, 3, generator=generator) * (k + 1) for k in range(steps)]
    optimizer = make_optimizer(name, {"table": table}, lr)
    for gradient in gradients:
        optimizer.step([gradient.clone()])
    return table, gradients


@pytest.mark.parametrize(
    ("name", "reference"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adagrad", torch.optim.Adagrad)],
)
def test_steps_equal_those_of_torch(name, reference):
    table, gradients = run(name, steps=7)
    expected = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = reference([expected], lr=0.05)
    for gradient in gradients:
        expected.grad = gradient
        optimizer.step()
    torch.testing.assert_close(table, expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_the_number_of_threads_does_not_change_a_bit(name, one_and_two_threads):
    # Large enough that torch shares the work, of a size that leaves vector tails in different places.
    torch.set_num_threads(1)
    one, _ = run(name, steps=3, rows=100_003)
    torch.set_num_threads(2)
    two, _ = run(name, steps=3, rows=100_003)
    assert torch.equal(one, two)


def test_adam_continues_from_its_tensors():
    straight, gradients = run("adam", steps=6)
    table = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    first = make_optimizer("adam", {"table": table}, 0.05)
    for gradient in gradients[:3]:
        first.step([gradient.clone()])
    second = make_optimizer("adam", {"table": table}, 0.05)
    for name, tensor in second.tensors().items():
        tensor.copy_(first.tensors()[name])
    for gradient in gradients[3:]:
        second.step([gradient.clone()])
    assert torch.equal(table, straight)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_sparse_gradients_take_the_steps_of_dense_ones_to_the_bit(name, decay):
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(40, 3, generator=generator)
    learners = [TableLearner({"t": start.clone()}, optimizer=name, lr=0.05, weight_decay=decay) for _ in range(2)]
    for _ in range(5):
        rows, values = torch.randint(40, (1, 12), generator=generator), torch.randn(12, 3, generator=generator)
        gradient = torch.sparse_coo_tensor(rows, values, (40, 3), check_invariants=True)
        learners[0].step([gradient.clone()])
        learners[1].step([gradient.coalesce().to_dense()])
    assert torch.equal(learners[0].tables["t"], learners[1].tables["t"])
