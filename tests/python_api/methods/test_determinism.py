from __future__ import annotations

from itertools import product

import pytest
import torch

from debiasrec import load, methods

QUICK = {"max_epochs": 4, "batch_size": 512}
DRAWS_NOTHING = ("user_mean", "item_mean", "popularity")


def same_bits(first, second) -> bool:
    pairs = zip(first.model_.tables().values(), second.model_.tables().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", list(methods.REGISTRY))
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(suited, made, name):
    split = suited(name)
    first, again, other = (made(name, seed=seed, **QUICK).fit(split) for seed in (0, 0, 1))
    assert same_bits(first, again)
    assert first.history_.drop(columns="seconds").equals(again.history_.drop(columns="seconds"))
    assert same_bits(first, other) == (name in DRAWS_NOTHING)


@pytest.fixture(scope="module")
def larger_split():
    return load("simulated", n_users=6000, n_items=50, density=0.1, uniform_per_user=5).split("interd", 0)


EITHER = ("mf", "wmf", "ips", "snips", "cause", "mf_pd", "interd")
FLAT = ("bpr", "relmf", "umf", "biif")


@pytest.mark.parametrize(("name", "batching"), [*product(EITHER, ("flat", "block")), *product(FLAT, ("flat",))])
def test_the_number_of_threads_does_not_change_a_bit(larger_split, name, batching, one_and_two_threads):
    # 6,000 users: tables and batches large enough for torch and for the operators to share the work.
    optimizer = {"optimizer": "adam"} if batching == "flat" else {"optimizer": "sgd", "lr": 1e-3, "reduction": "sum"}
    options = {"max_epochs": 2, "batching": batching, "batch_size": 12_000, "user_block": 6000, **optimizer}
    if name == "interd":
        options |= {"biased_teacher": methods.MF(max_epochs=1), "debiased_teacher": methods.IPS(max_epochs=1)}
    fitted = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        fitted.append(methods.make(name, **options).fit(larger_split))
    assert same_bits(*fitted)


def test_global_generators_are_neither_read_nor_moved(split):
    torch.manual_seed(1)
    first = methods.DR(**QUICK).fit(split)
    after_fit = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after_fit)
    assert same_bits(first, methods.DR(**QUICK).fit(split))
