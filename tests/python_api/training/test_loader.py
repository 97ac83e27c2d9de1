from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.training import BlockLoader, FlatLoader

N_USERS, N_ITEMS = 23, 17


@pytest.fixture
def columns() -> dict[str, torch.Tensor]:
    keys = np.random.default_rng(0).choice(N_USERS * N_ITEMS, size=150, replace=False)
    return {
        "users": torch.from_numpy(keys // N_ITEMS),
        "items": torch.from_numpy(keys % N_ITEMS),
        "targets": torch.from_numpy(keys.astype(np.float32)),
    }


def block_loader(columns, *, block=(10, 6), seed=0, skip_empty=True):
    return BlockLoader(columns, shape=(N_USERS, N_ITEMS), block=block, seed=seed, skip_empty=skip_empty)


def keys_of(batches) -> np.ndarray:
    return np.concatenate([(batch.users * N_ITEMS + batch.items).numpy() for batch in batches])


@pytest.mark.parametrize("kind", ["flat", "block"])
def test_an_epoch_holds_every_rated_pair_once_with_its_own_columns(columns, kind):
    loader = FlatLoader(columns, batch_size=32, seed=0) if kind == "flat" else block_loader(columns)
    batches = list(loader.epoch(1))
    keys = keys_of(batches)
    assert sorted(keys) == sorted(columns["targets"].int().tolist())
    assert np.array_equal(keys, np.concatenate([batch["targets"].numpy() for batch in batches]))


def test_flat_batches_have_the_stated_size(columns):
    assert [len(batch) for batch in FlatLoader(columns, batch_size=64, seed=0).epoch(1)] == [64, 64, 22]


def test_blocks_hold_the_pairs_of_their_users_and_items_and_cover_all_pairs_once(columns):
    covered = np.zeros((N_USERS, N_ITEMS), dtype=int)
    for batch in block_loader(columns, skip_empty=False).epoch(1):
        assert set(batch.users.tolist()) <= set(batch.block[0].tolist())
        assert set(batch.items.tolist()) <= set(batch.block[1].tolist())
        covered[np.ix_(batch.block[0].numpy(), batch.block[1].numpy())] += 1
    assert (covered == 1).all()


def test_items_are_reshuffled_for_every_user_block(columns):
    batches = list(block_loader(columns, skip_empty=False).epoch(1))
    first_item_blocks = {tuple(batch.block[1].tolist()) for batch in batches[::3]}
    assert len(first_item_blocks) == 3


def test_empty_blocks_are_left_out_on_request():
    columns = {"users": torch.tensor([0]), "items": torch.tensor([0])}
    assert len(list(block_loader(columns).epoch(1))) == 1
    assert [len(batch) for batch in block_loader(columns, skip_empty=False).epoch(1)].count(0) == 8


@pytest.mark.parametrize("kind", ["flat", "block"])
def test_the_order_depends_on_seed_and_epoch_alone(columns, kind):
    def keys(seed: int, epoch: int, before: int = 0) -> list[int]:
        loader = FlatLoader(columns, batch_size=32, seed=seed) if kind == "flat" else block_loader(columns, seed=seed)
        for number in range(1, before + 1):
            list(loader.epoch(number))
        return keys_of(loader.epoch(epoch)).tolist()

    assert keys(0, 5) == keys(0, 5, before=3)
    assert keys(0, 5) != keys(0, 6)
    assert keys(0, 5) != keys(1, 5)


def test_more_blocks_than_sixteen_bits_hold_still_find_their_pairs():
    users = torch.arange(300)
    loader = BlockLoader({"users": users, "items": users}, shape=(300, 300), block=(1, 1), seed=0)
    batches = list(loader.epoch(1))
    assert len(batches) == 300
    assert all(batch.users.tolist() == batch.block[0].tolist() for batch in batches)
