"""PairSampler: the stream, what it leaves out, and how evenly it draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sampling.philox import numbers, pair, philox
from scipy.stats import chisquare
from torch import Tensor

from debias_ext import PairSampler, _library

N_USERS, N_ITEMS = 37, 23
MANY = 100_000  # above the size from which threads share the work
LEAST_P = 1e-3  # seeds are fixed: what passes once passes always


def observed_pairs(
    density: float, n_users: int = N_USERS, n_items: int = N_ITEMS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A random part of all pairs, some of them twice, in random order."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(n_users * n_items, generator=generator)[: round(density * n_users * n_items)]
    chosen = torch.cat([chosen, chosen[: len(chosen) // 3]])
    return chosen // n_items, chosen % n_items


def sampler(density: float = 0.2, seed: int = 7) -> PairSampler:
    users, items = observed_pairs(density)
    return PairSampler(users, items, n_users=N_USERS, n_items=N_ITEMS, seed=seed)


def cells(pairs: tuple[Tensor, Tensor], n_items: int = N_ITEMS) -> np.ndarray:
    return (pairs[0] * n_items + pairs[1]).numpy()


CALLS: dict[str, Callable[[PairSampler, int], tuple[Tensor, Tensor]]] = {
    "uniform": lambda s, n: s.uniform(n),
    "unobserved": lambda s, n: s.unobserved(n),
    "negatives": lambda s, n: s.negatives(torch.arange(n) % N_USERS, 1),
}


def is_even(counts: np.ndarray) -> bool:
    return len(counts) == 1 or chisquare(counts).pvalue > LEAST_P


def equal(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_philox_gives_the_published_answers() -> None:
    ones = 2**32 - 1
    known = [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for counter, key, words in known:
        assert philox(counter, key) == words


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**64 - 1])
@pytest.mark.parametrize("position", [0, 2**32 - 5, 2**40])
def test_rows_are_philox_of_their_position(seed: int, position: int, simd_levels: list[str]) -> None:
    users, items = observed_pairs(0.4)
    taken = set(cells((users, items)).tolist())
    for level in simd_levels:
        _library.load().set_simd_level(level)
        s = PairSampler(users, items, n_users=N_USERS, n_items=N_ITEMS, seed=seed)
        s.load_state_dict({"seed": seed, "position": position})
        expected = [pair(position + k, 0, seed, N_USERS, N_ITEMS) for k in range(40)]
        assert torch.stack(s.uniform(40), 1).tolist() == [list(p) for p in expected]
        for k, got in enumerate(torch.stack(s.unobserved(40), 1).tolist()):
            attempts = (pair(position + 40 + k, attempt, seed, N_USERS, N_ITEMS) for attempt in range(16))
            assert tuple(got) == next(p for p in attempts if p[0] * N_ITEMS + p[1] not in taken)
        given, got_items = s.negatives(torch.tensor([5, 30]), 20)
        assert given.tolist() == [5] * 20 + [30] * 20
        for k, (user, item) in enumerate(zip(given.tolist(), got_items.tolist(), strict=True)):
            attempts = (pair(position + 80 + k, attempt, seed, N_USERS, N_ITEMS)[1] for attempt in range(16))
            assert item == next(i for i in attempts if user * N_ITEMS + i not in taken)


def test_large_tables_use_every_bit() -> None:
    empty = torch.empty(0, dtype=torch.int64)
    s = PairSampler(empty, empty, n_users=3, n_items=2**31, seed=11)
    items = s.uniform(50)[1].tolist()
    assert items == [numbers(row, 0, 11)[1] >> 33 for row in range(50)]


def test_a_row_that_is_refused_too_often_is_chosen_by_rank() -> None:
    every = torch.arange(N_USERS * N_ITEMS)
    free = torch.tensor([3 * N_ITEMS + 4, 3 * N_ITEMS + 22, 20 * N_ITEMS, 36 * N_ITEMS + 22])
    rest = every[~torch.isin(every, free)]
    s = PairSampler(rest // N_ITEMS, rest % N_ITEMS, n_users=N_USERS, n_items=N_ITEMS, seed=5)
    got = cells(s.unobserved(200)).tolist()
    for row, cell in enumerate(got):
        attempts = (pair(row, attempt, 5, N_USERS, N_ITEMS) for attempt in range(16))
        drawn = next((p[0] * N_ITEMS + p[1] for p in attempts if p[0] * N_ITEMS + p[1] in free.tolist()), None)
        assert cell == (free[numbers(row, 16, 5)[0] * 4 >> 64] if drawn is None else drawn)


@pytest.mark.parametrize("call", CALLS)
def test_calls_continue_one_stream(call: str) -> None:
    whole, parts = sampler(), sampler()
    drawn = CALLS[call](whole, 2 * N_USERS + 1000 * N_USERS)
    pieces = [CALLS[call](parts, n) for n in (2 * N_USERS, 0, 1000 * N_USERS)]
    assert equal(drawn, (torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])))
    assert whole.state_dict() == parts.state_dict() == {"seed": 7, "position": 1002 * N_USERS}


@pytest.mark.parametrize("call", CALLS)
def test_the_number_of_threads_changes_nothing(call: str, one_and_two_threads: None) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(CALLS[call](sampler(0.6), MANY))
    assert all(equal(other, results[0]) for other in results[1:])


@pytest.mark.parametrize("call", CALLS)
def test_another_seed_is_another_stream(call: str) -> None:
    assert not equal(CALLS[call](sampler(seed=1), 100), CALLS[call](sampler(seed=2), 100))


def test_state_is_restored() -> None:
    s = sampler()
    s.uniform(1234)
    state = s.state_dict()
    first = s.unobserved(500)
    other = sampler(seed=99)
    other.load_state_dict(state)
    assert equal(other.unobserved(500), first)
    assert other.state_dict() == s.state_dict()
    assert repr(s) == f"PairSampler(n_users={N_USERS}, n_items={N_ITEMS}, seed=7, position=1734)"


def test_uniform_pairs_are_uniform() -> None:
    counts = np.bincount(cells(sampler().uniform(MANY)), minlength=N_USERS * N_ITEMS)
    assert is_even(counts)


@pytest.mark.parametrize("density", [0.0, 0.2, 0.9, 0.998])
def test_unobserved_pairs_are_uniform_over_the_rest(density: float) -> None:
    users, items = observed_pairs(density)
    s = PairSampler(users, items, n_users=N_USERS, n_items=N_ITEMS, seed=3)
    counts = np.bincount(cells(s.unobserved(MANY)), minlength=N_USERS * N_ITEMS)
    free = np.ones(N_USERS * N_ITEMS, dtype=bool)
    free[cells((users, items))] = False
    assert counts[~free].sum() == 0
    assert is_even(counts[free])


@pytest.mark.parametrize("kept", [1, 2, N_ITEMS // 2, N_ITEMS])
def test_negatives_are_uniform_over_what_the_user_has_not_observed(kept: int) -> None:
    free = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(kept))[:kept].sort().values
    items = torch.arange(N_ITEMS)[~torch.isin(torch.arange(N_ITEMS), free)]
    s = PairSampler(torch.full_like(items, 4), items, n_users=N_USERS, n_items=N_ITEMS, seed=kept)
    users, drawn = s.negatives(torch.tensor([4, 9], dtype=torch.int32), MANY // 2)
    assert users.dtype == drawn.dtype == torch.int64
    counts = np.bincount(drawn[users == 4].numpy(), minlength=N_ITEMS)
    assert counts.sum() == counts[free.numpy()].sum() == MANY // 2
    assert is_even(counts[free.numpy()])
    assert is_even(np.bincount(drawn[users == 9].numpy(), minlength=N_ITEMS))


def test_tables_too_large_for_a_bitmap() -> None:
    n_users, n_items = 600_000, 1000  # 6e8 bits are more than 64 MB
    generator = torch.Generator().manual_seed(0)
    users = torch.cat([torch.randint(n_users, (300_000,), generator=generator), torch.full((998,), 77)])
    items = torch.cat([torch.randint(n_items, (300_000,), generator=generator), torch.arange(998)])
    s = PairSampler(users, items, n_users=n_users, n_items=n_items, seed=1)
    taken = cells((users, items), n_items)
    drawn = cells(s.unobserved(300_000), n_items)
    assert not np.isin(drawn, taken).any()
    first = cells(tuple(torch.tensor([pair(r, 0, 1, n_users, n_items) for r in range(50_000)]).T), n_items)
    assert np.isin(first, taken).any()  # so some rows were drawn again
    counts = np.bincount(s.negatives(torch.tensor([77]), 20_000)[1].numpy(), minlength=n_items)
    assert counts[:998].sum() == np.isin(77 * n_items + np.arange(998, 1000), taken).sum() == 0
    assert is_even(counts[998:])


def test_nothing_asked_is_nothing_drawn() -> None:
    s = sampler()
    for pairs in (s.uniform(0), s.unobserved(0), s.negatives(torch.arange(3), 0), s.negatives(torch.arange(0), 5)):
        assert pairs[0].shape == pairs[1].shape == (0,)
    assert s.state_dict()["position"] == 0


def test_observed_pairs_may_be_int32_and_strided() -> None:
    users, items = observed_pairs(0.5)
    rows = torch.stack([users, items], 1).int()
    other = PairSampler(rows[:, 0], rows[:, 1], n_users=N_USERS, n_items=N_ITEMS, seed=7)
    assert equal(
        other.unobserved(1000), PairSampler(users, items, n_users=N_USERS, n_items=N_ITEMS, seed=7).unobserved(1000)
    )


def test_the_observed_pairs_are_copied() -> None:
    users, items = observed_pairs(0.5)
    s = PairSampler(users, items, n_users=N_USERS, n_items=N_ITEMS, seed=7)
    before = set(cells((users, items)).tolist())
    users.zero_()
    assert before.isdisjoint(cells(s.unobserved(5000)).tolist())


def test_a_full_matrix_has_no_unobserved_pair() -> None:
    every = torch.arange(N_USERS * N_ITEMS)
    s = PairSampler(every // N_ITEMS, every % N_ITEMS, n_users=N_USERS, n_items=N_ITEMS, seed=0)
    with pytest.raises(ValueError, match="users and items hold all 37 x 23 pairs: none is unobserved"):
        s.unobserved(1)
    assert s.state_dict()["position"] == 0
    assert len(s.uniform(3)[0]) == 3


def test_a_user_with_every_item_is_named() -> None:
    s = PairSampler(torch.full((N_ITEMS,), 4), torch.arange(N_ITEMS), n_users=N_USERS, n_items=N_ITEMS, seed=0)
    message = "users must each have an unobserved item, user 4 at position 2 has observed all 23"
    with pytest.raises(ValueError, match=message):
        s.negatives(torch.tensor([1, 2, 4]), 3)
    assert s.state_dict()["position"] == 0
    assert 4 not in s.unobserved(5000)[0]


INDICES = torch.tensor([0, 1])
BAD = [
    ({"users": [0, 1]}, ValueError, "users must be a torch.Tensor, got list"),
    ({"users": torch.zeros(2)}, ValueError, "users must be int32 or int64, got float32"),
    ({"items": torch.zeros(2, 1, dtype=torch.int64)}, ValueError, r"items must have 1 dimension, got shape \[2, 1\]"),
    ({"items": torch.tensor([0])}, ValueError, "items must be as many as users, 2, got 1"),
    ({"users": torch.tensor([0, N_USERS])}, IndexError, r"users must be in \[0, 37\), got 37 at position 1"),
    ({"items": torch.tensor([-1, 0])}, IndexError, r"items must be in \[0, 23\), got -1 at position 0"),
    ({"users": torch.zeros(2, dtype=torch.int64, device="meta")}, ValueError, "users must be on the CPU, got meta"),
    ({"n_users": 0}, ValueError, r"n_users must be in \[1, 2\^31\], got 0"),
    ({"n_items": 2**31 + 1}, ValueError, r"n_items must be in \[1, 2\^31\], got 2147483649"),
    ({"n_items": 2.0}, ValueError, r"n_items must be an integer, got 2\.0"),
    ({"seed": -1}, ValueError, r"seed must be in \[0, 2\^64\), got -1"),
    ({"seed": None}, ValueError, "seed must be an integer, got None"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[message[:30] for *_, message in BAD])
def test_a_bad_argument_is_named(change: dict, kind: type[Exception], message: str) -> None:
    arguments = {"users": INDICES, "items": INDICES, "n_users": N_USERS, "n_items": N_ITEMS, "seed": 0} | change
    with pytest.raises(kind, match=message):
        PairSampler(**arguments)


def test_bad_arguments_of_the_methods_are_named() -> None:
    s = sampler()
    for call in (s.uniform, s.unobserved):
        with pytest.raises(ValueError, match="n must be at least 0, got -1"):
            call(-1)
        with pytest.raises(ValueError, match=r"n must be an integer, got 1\.5"):
            call(1.5)
    with pytest.raises(ValueError, match="per_user must be an integer, got True"):
        s.negatives(torch.tensor([0]), True)
    with pytest.raises(IndexError, match=r"users must be in \[0, 37\), got 40 at position 1"):
        s.negatives(torch.tensor([0, 40]), 2)
    with pytest.raises(ValueError, match="users must be int32 or int64"):
        s.negatives(torch.tensor([0.0]), 2)
    with pytest.raises(ValueError, match=r"state must have the keys 'position' and 'seed', got \['seed'\]"):
        s.load_state_dict({"seed": 1})
    with pytest.raises(ValueError, match="position must be in"):
        s.load_state_dict({"seed": 1, "position": -1})
    assert s.state_dict() == {"seed": 7, "position": 0}
