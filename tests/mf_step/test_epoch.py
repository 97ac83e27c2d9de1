"""A whole epoch in one call: the same as the loop over its batches."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from mf_step.problem import KINDS, Problem, assert_close, make_problem

import debias_ext
from debias_ext import mf_epoch_order, reference

COLUMNS = ("users", "items", "targets", "weights", "pseudo_targets", "exposures")


def loop(problem: Problem, batch_size: int, seed: int, epoch: int) -> list[float]:
    """What mf_epoch_ promises to equal; the loss of each batch."""
    order = mf_epoch_order(len(problem.tensors["users"]), seed, epoch).to(problem.tensors["users"].device)
    losses = []
    for batch in order.split(batch_size):
        chosen = {name: problem.tensors[name][batch] for name in COLUMNS if name in problem.tensors}
        losses.append(float(problem.step(**chosen)))
    return losses


@pytest.mark.parametrize(
    "options", [{}, {"pseudo_targets": True, "l2": 0.1, "l2_rows": "all"}, {"loss": "exposure"}], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_the_loop_over_its_batches(kind: str, options: dict, device: Device) -> None:
    dtype = torch.float32
    fused = make_problem(kind, n=150, dtype=dtype, device=device.tensors, lr=0.01, **options)
    looped = make_problem(kind, n=150, dtype=dtype, device=device.tensors, lr=0.01, **options)
    for epoch in range(2):
        value = fused.epoch(batch_size=32, generator_seed=5, epoch=epoch)
        assert float(value) == pytest.approx(sum(loop(looped, 32, 5, epoch)), rel=1e-12)
    assert fused.optimizer.steps == looped.optimizer.steps == 10
    assert_close(fused.tables(), looped.tables(), 0.0)
    assert_close(fused.optimizer.state, looped.optimizer.state, 0.0)


def test_an_epoch_equals_the_reference(device: Device) -> None:
    problem = make_problem("adagrad", n=150, device=device.tensors, loss="bce", reduction="mean", l2=0.01)
    expected = problem.reference()
    value = problem.epoch(batch_size=40, generator_seed=1, epoch=7)
    order = mf_epoch_order(150, 1, 7)
    first = [expected.tensors.pop(name) for name in ("user_factors", "item_factors", "users", "items", "targets")]
    arguments = {**expected.tensors, **expected.options, "optimizer": expected.optimizer}
    torch.testing.assert_close(value.cpu(), reference.mf_epoch_(*first, **arguments, order=order, batch_size=40))
    expected.tensors |= {"user_factors": first[0], "item_factors": first[1]}
    assert_close(problem.tables(), expected.tables(), 1e-11)


def test_an_epoch_in_parts_is_the_same(device: Device) -> None:
    whole = make_problem("lazy_adam", n=150, device=device.tensors, lr=0.01)
    parts = make_problem("lazy_adam", n=150, device=device.tensors, lr=0.01)
    value = whole.epoch(batch_size=32, generator_seed=5, epoch=0)
    values = [
        parts.epoch(batch_size=32, generator_seed=5, epoch=0, start=a, stop=b) for a, b in [(0, 2), (2, 2), (2, 5)]
    ]
    assert float(value) == pytest.approx(float(sum(values)), rel=1e-14)
    assert_close(parts.tables(), whole.tables(), 0.0)


def test_progress_and_interruption_between_slices(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    monkeypatch.setattr("debias_ext.ops.mf_epoch.FIRST_SLICE", 2)
    monkeypatch.setattr("debias_ext.ops.mf_epoch.SLICE_SECONDS", 0.0)
    seen: list[tuple[int, int]] = []

    def progress(done: int, batches: int) -> None:
        seen.append((done, batches))
        if done == 4:
            raise KeyboardInterrupt

    cut = make_problem("adagrad", n=150, device=device.tensors)
    with pytest.raises(KeyboardInterrupt):
        cut.epoch(batch_size=25, generator_seed=0, epoch=0, progress=progress)
    assert seen == [(2, 6), (3, 6), (4, 6)]
    assert cut.optimizer.steps == 4
    short = make_problem("adagrad", n=150, device=device.tensors)
    short.epoch(batch_size=25, generator_seed=0, epoch=0, stop=4)
    assert_close(cut.tables(), short.tables(), 0.0)


def test_a_bad_index_anywhere_is_refused_before_the_first_step(device: Device) -> None:
    problem = make_problem("sgd", n=150, device=device.tensors)
    problem.tensors["items"][149] = 17
    before = {name: table.clone() for name, table in problem.tables().items()}
    with pytest.raises(IndexError, match=r"items must be in \[0, 17\), got .* at position 149"):
        problem.epoch(batch_size=1, generator_seed=0, epoch=0)
    assert_close(problem.tables(), before, 0.0)
    assert problem.optimizer.steps == 0


def test_an_empty_data_set(device: Device) -> None:
    problem = make_problem("adam", n=0, device=device.tensors)
    assert float(problem.epoch(batch_size=8, generator_seed=0, epoch=0)) == 0.0
    assert problem.optimizer.steps == 0


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 40_000), st.integers(-(2**63), 2**63 - 1), st.integers(0, 1000))
def test_the_order_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    order = mf_epoch_order(n, seed, epoch)
    assert torch.equal(order.sort().values, torch.arange(n))


def test_the_order_depends_on_seed_and_epoch_and_not_on_threads(one_and_two_threads: None) -> None:
    orders = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        orders.append(mf_epoch_order(200_000, 3, 4))
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])
    for other in (mf_epoch_order(200_000, 4, 4), mf_epoch_order(200_000, 3, 5), mf_epoch_order(200_000, 4, 3)):
        # Two independent permutations agree at one place on average.
        assert int((orders[0] == other).sum()) < 12


def test_the_order_is_uniform() -> None:
    """Where each of 6 samples lands, and all 720 permutations, over many seeds: chi-square within 6 deviations."""
    counts = torch.zeros(6, 6, dtype=torch.float64)
    permutations = torch.zeros(6**6, dtype=torch.float64)
    trials = 36_000
    for seed in range(trials):
        order = mf_epoch_order(6, seed, 0)
        counts[torch.arange(6), order] += 1
        permutations[int((order * 6 ** torch.arange(6)).sum())] += 1
    assert float(((counts - trials / 6).square() / (trials / 6)).sum()) < 25 + 9 * 50**0.5
    seen = permutations[permutations > 0]
    assert len(seen) == 720
    assert float(((seen - trials / 720).square() / (trials / 720)).sum()) < 719 + 6 * 1438**0.5


def test_large_orders_are_spread(one_and_two_threads: None) -> None:
    """The samples of each sixteenth of the data land evenly in each sixteenth of the order."""
    n = 1 << 18
    order = mf_epoch_order(n, 11, 0)
    table = torch.zeros(256, dtype=torch.float64).index_add_(
        0, (torch.arange(n) >> 14) * 16 + (order >> 14), torch.ones(n, dtype=torch.float64)
    )
    chi_square = float(((table - n / 256).square() / (n / 256)).sum())
    assert 225 - 6 * 450**0.5 < chi_square < 225 + 6 * 450**0.5


@pytest.mark.parametrize("name", ["n", "generator_seed", "epoch"])
def test_bad_order_arguments(name: str) -> None:
    arguments = {"n": 5, "generator_seed": 0, "epoch": 0}
    for bad, match in ((1.5, ", got 1.5"), (2**63, " of 64 bits"), (True, ", got True")):
        with pytest.raises(ValueError, match=f"^{name} must be an integer{match}"):
            mf_epoch_order(**{**arguments, name: bad})
    with pytest.raises(ValueError, match=r"^n must not be negative, got -1"):
        mf_epoch_order(-1, 0, 0)


def test_public_names() -> None:
    assert {"mf_step_", "mf_epoch_", "mf_epoch_order", "MFOptimizer"} <= set(debias_ext.__all__)


def test_on_the_cpu_a_bad_sample_far_on_leaves_no_step_behind() -> None:
    problem = make_problem("adam", n=1000)
    before = {name: table.clone() for name, table in problem.tables().items()}
    problem.tensors["users"][-1] = 1 << 40
    with pytest.raises(IndexError, match=r"^users must be in"):
        problem.epoch(batch_size=2, generator_seed=0, epoch=0, validate=False)
    assert_close(problem.tables(), before, 0.0)
    assert problem.optimizer.steps == 0
