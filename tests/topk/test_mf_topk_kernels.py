"""The same bits whatever the threads and launches; instruction sets; torch.compile, opcheck, and no derivative."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Device, call_emulated_kernels
from topk.problems import Problem, assert_exact, topk, whole_numbers
from torch import Tensor

from debias_ext import _library, mf_score, mf_topk

DTYPES = [torch.float32, torch.float64]


def random_problem(n_users: int, n_items: int, factors: int, seen_per_user: int = 30) -> Problem:
    generator = torch.Generator().manual_seed(n_items)
    base = whole_numbers(n_users, n_items, factors, n_users, seen_per_user=seen_per_user)
    return base._replace(tables={name: torch.randn(t.shape, generator=generator) for name, t in base.tables.items()})


def same_bits(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


# one user: threads share the items; 300: they share the users; 130: both
@pytest.mark.parametrize(("n_users", "n_items"), [(1, 30_000), (130, 20_000), (700, 3000)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_number_of_threads_changes_no_bit(
    n_users: int, n_items: int, dtype: torch.dtype, one_and_two_threads: None
) -> None:
    problem = random_problem(n_users, n_items, 40).to(dtype)
    results = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        results.append(topk(problem, 33))
    assert all(same_bits(other, results[0]) for other in results[1:])


# With 64 items to a place of the list, float32 items are screened by bfloat16 products where the CPU has them; with one
# place more they are not.
N_SCREENED, K_SCREENED = 6400, 99


def assert_screening_changes_no_bit(problem: Problem) -> None:
    screened, plain = topk(problem, K_SCREENED), topk(problem, K_SCREENED + 1)
    assert same_bits(screened, (plain[0][:, :K_SCREENED], plain[1][:, :K_SCREENED]))


@pytest.mark.parametrize("factors", [16, 17, 64, 131])
def test_screened_scores_are_the_plain_ones(factors: int) -> None:
    assert_screening_changes_no_bit(random_problem(50, N_SCREENED, factors, 300))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-10, 1e6, 1e12, 1e18, 1e19])
def test_screening_at_any_scale(scale: float) -> None:
    """Down to products that underflow, up to norms for which there is no bound."""
    problem = random_problem(30, N_SCREENED, 20)
    for name in ("user_factors", "item_factors"):
        problem.tables[name] *= scale
    assert_screening_changes_no_bit(problem)
    problem.tables["item_factors"] /= scale
    assert_screening_changes_no_bit(problem)


def test_screening_when_biases_decide() -> None:
    """Scores that differ by less than bfloat16 can tell, large biases, and items of very uneven norms."""
    problem = random_problem(30, N_SCREENED, 24)
    problem.tables["item_factors"] = problem.tables["item_factors"][:1].expand(N_SCREENED, -1) + 1e-6 * torch.randn(
        N_SCREENED, 24, generator=torch.Generator().manual_seed(1)
    )
    for scale in (0.0, 1e-6, 1.0, 1e7, 1e31):
        for name in ("user_bias", "item_bias"):
            biases = random_problem(30, N_SCREENED, 1).tables[name]
            problem.tables[name] = biases * scale
        assert_screening_changes_no_bit(problem)
    order = torch.randperm(N_SCREENED, generator=torch.Generator().manual_seed(2))
    problem.tables["item_factors"] *= 10 ** torch.linspace(-8, 8, N_SCREENED)[order].unsqueeze(1)
    assert_screening_changes_no_bit(problem)


def test_screening_beside_values_that_are_not_finite() -> None:
    problem = random_problem(30, N_SCREENED, 16)
    tables, inf, nan = problem.tables, float("inf"), float("nan")
    tables["item_bias"][::7] = -inf
    tables["item_bias"][5], tables["item_bias"][6] = inf, nan
    tables["item_factors"][100, 3], tables["item_factors"][200, 4], tables["item_factors"][300, 5] = inf, nan, -3e38
    tables["user_factors"][1, 2], tables["user_factors"][2, 3] = inf, nan
    tables["user_bias"][3], tables["user_bias"][4] = -inf, inf
    assert_screening_changes_no_bit(problem)
    items = topk(problem, K_SCREENED)[1]
    assert (items[problem.users == 3] == -1).all()
    assert not torch.isin(torch.arange(0, N_SCREENED, 7), items).any()


def test_screening_with_ties_and_long_runs_of_better_items() -> None:
    exact = whole_numbers(60, N_SCREENED, 16, 60)
    assert_exact(exact.to(torch.float32), K_SCREENED)
    ascending = torch.linspace(0, 1, N_SCREENED).unsqueeze(1).expand(-1, 16).contiguous()
    problem = Problem({"user_factors": torch.ones(9, 16), "item_factors": ascending}, torch.arange(9), None)
    assert_screening_changes_no_bit(problem)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_instruction_set(dtype: torch.dtype, simd_levels: list[str], one_and_two_threads: None) -> None:
    exact, near = whole_numbers(60, 9000, 7, 60).to(dtype), random_problem(50, 1000, 30).to(dtype)
    scores = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert_exact(exact, 25)
        scores.append(topk(near, 10)[0])
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0], rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_scores_are_those_of_mf_score(device: Device) -> None:
    problem = random_problem(20, 300, 16).to(torch.float32, device.tensors)
    scores, items = topk(problem, 8)
    tables = problem.tables
    again = mf_score(
        tables["user_factors"], tables["item_factors"], problem.users.repeat_interleave(8), items.flatten(),
        tables["user_bias"], tables["item_bias"],
    )  # fmt: skip
    torch.testing.assert_close(scores.flatten(), again, rtol=1e-5, atol=1e-5)


def test_two_launches_give_the_same_bits(device: Device) -> None:
    problem = random_problem(40, 9000, 8).to(torch.float32, device.tensors)
    assert same_bits(topk(problem, 20), topk(problem, 20))


def test_the_order_of_cuda_threads_changes_no_bit(emulated_ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call_emulated_kernels(emulated_ops, monkeypatch)
    problem = random_problem(33, 700, 5)
    results = []
    for order in ("forward", "reverse", "random:3"):
        monkeypatch.setenv("DEBIAS_EMULATION_ORDER", order)
        results.append(topk(problem, 40))
    assert all(same_bits(other, results[0]) for other in results[1:])


def test_long_seen_lists() -> None:
    """Sorted and unsorted, with most of the best items in them."""
    problem = whole_numbers(30, 2000, 6, 30, seen_per_user=4000)
    assert_exact(problem, 15)
    offsets, items = problem.seen
    ascending = torch.cat([part.sort().values for part in items.split(offsets.diff().tolist())])
    assert_exact(problem._replace(seen=(offsets, ascending)), 15)


def test_no_derivative() -> None:
    problem = whole_numbers().to(torch.float32)
    for table in problem.tables.values():
        table.requires_grad_()
    scores, _ = topk(problem, 3)
    assert not scores.requires_grad
    tables = problem.tables
    raw, _ = torch.ops.debias_ext.mf_topk(
        tables["user_factors"], tables["item_factors"], problem.users, 3, None, None, None, None, True
    )
    with pytest.raises(RuntimeError, match="mf_topk has no derivative"):
        raw.sum().backward()


@pytest.mark.parametrize("full", [True, False])
def test_opcheck(full: bool) -> None:
    problem = whole_numbers(biases=full, seen_per_user=5 if full else None)
    tables = [problem.tables.get(name) for name in ("user_factors", "item_factors", "user_bias", "item_bias")]
    seen = problem.seen or (None, None)
    arguments = (*tables[:2], problem.users, 6, *tables[2:], *seen, True)
    torch.library.opcheck(torch.ops.debias_ext.mf_topk.default, arguments)


@pytest.mark.parametrize("dynamic", [True, False])
def test_compiles_to_one_graph(dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(topk, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for n in (5, 9):
        problem = whole_numbers(n=n).to(torch.float32)
        assert same_bits(compiled(problem, 7), topk(problem, 7))


def test_compiled_errors_are_the_eager_ones() -> None:
    torch._dynamo.reset()
    problem = whole_numbers()._replace(users=torch.tensor([99]))
    with pytest.raises(IndexError, match=r"users must be in \[0, 40\), got 99 at position 0"):
        torch.compile(topk, fullgraph=True, backend="aot_eager")(problem, 7)


def test_many_users_few_items() -> None:
    problem = whole_numbers(3000, 30, 3, 5000)
    assert_exact(problem.to(torch.float32), 5)


def test_every_item_of_a_large_table() -> None:
    """k as large as the table: no list is ever cut back."""
    assert_exact(whole_numbers(20, 6000, 2, 20).to(torch.float32), 6000)


def test_a_result_may_be_used_as_users_of_the_next_call() -> None:
    tables = whole_numbers(50, 50).tables
    first = mf_topk(tables["user_factors"], tables["item_factors"], torch.arange(50), 1)[1][:, 0]
    assert mf_topk(tables["item_factors"], tables["user_factors"], first, 2)[1].shape == (50, 2)
