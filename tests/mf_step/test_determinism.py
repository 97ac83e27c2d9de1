"""The same bits for every number of threads and every launch; instruction sets agree."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from mf_step.problem import KINDS, Problem, assert_close, make_problem
from torch import Tensor

from debias_ext import _library


def run(problem: Problem, epoch: bool) -> dict[str, Tensor]:
    if epoch:
        loss = problem.epoch(batch_size=1500, generator_seed=1, epoch=0)
    else:
        loss = problem.step()
    return {**problem.tables(), **problem.optimizer.state, "loss": loss}


@pytest.mark.parametrize("options", [{}, {"l2": 0.1, "l2_rows": "all", "decay_bias": True}], ids=["touched", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_a_bit(kind: str, options: dict, one_and_two_threads: None) -> None:
    for factors, epoch in ((64, False), (10, True), (33, True)):
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            problem = make_problem(
                kind, n=6000, factors=factors, shape=(5000, 700), dtype=torch.float32, lr=1e-3, **options
            )
            results.append(run(problem, epoch))
        for other in results[1:]:
            assert all(torch.equal(other[name], tensor) for name, tensor in results[0].items())


@pytest.mark.parametrize("kind", KINDS)
def test_two_launches_give_the_same_bits(kind: str, device: Device) -> None:
    first, second = (run(make_problem(kind, dtype=torch.float32, device=device.tensors), False) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("factors", [10, 33, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_instruction_sets_agree(kind: str, factors: int, simd_levels: list[str]) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        results = []
        for level in simd_levels:
            _library.load().set_simd_level(level)
            problem = make_problem(kind, n=300, factors=factors, shape=(200, 50), dtype=dtype, lr=1e-3, l2=0.1)
            results.append(run(problem, False))
        for other in results[1:]:
            assert_close(other, results[0], tolerance)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(0, 50),
    shape=st.tuples(st.integers(1, 3000), st.integers(1, 30)),
    factors=st.integers(0, 40),
    index=st.sampled_from([torch.int32, torch.int64]),
    l2=st.sampled_from([0.0, 0.1]),
    l2_rows=st.sampled_from(["touched", "all"]),
    seed=st.integers(0, 10**6),
)
def test_any_shape_equals_the_reference(
    kind: str,
    n: int,
    shape: tuple[int, int],
    factors: int,
    index: torch.dtype,
    l2: float,
    l2_rows: str,
    seed: int,
) -> None:
    problem = make_problem(
        kind, n=n, shape=shape, factors=factors, index=index, seed=seed, lr=1e-3, l2=l2, l2_rows=l2_rows
    )
    expected = problem.reference()
    problem.step()
    expected.reference_step()
    assert_close(problem.tables(), expected.tables(), 1e-10)
    assert_close(problem.optimizer.state, expected.optimizer.state, 1e-10)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["users", "items"]),
    position=st.integers(0, 59),
    bad=st.one_of(st.integers(-(2**62), -1), st.integers(40, 2**62)),
)
def test_any_index_out_of_range_is_refused(name: str, position: int, bad: int) -> None:
    problem = make_problem("adagrad")
    problem.tensors[name][position] = bad
    with pytest.raises(IndexError, match=f"^{name} must be in .*, got {bad} at position {position}"):
        problem.step()
