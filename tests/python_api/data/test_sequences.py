"""Clicks in time order: their files, their k-core, the leave-one-out split, and user groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from debiasrec.data import Interactions, Split, load
from debiasrec.data.groups import inconsistency, user_groups
from debiasrec.data.sequences import TEST_NEGATIVES, VALIDATION_NEGATIVES, ordered_dataset
from debiasrec.errors import DebiasRecError

# user, item, rating, time
RATINGS = [(7, 3, 5, 20), (7, 1, 1, 10), (9, 1, 4, 5), (9, 3, 2, 6), (7, 2, 3, 30), (9, 2, 1, 7), (4, 8, 5, 1)]


def clicks_of(data) -> list[tuple[int, int]]:
    return list(zip(data.user_ids[data.biased.users], data.item_ids[data.biased.items], strict=True))


@pytest.mark.parametrize(("name", "file", "separator"), [("ml_100k", "u.data", "\t"), ("ml_1m", "ratings.dat", "::")])
def test_movielens_is_read_in_time_order_and_cut_to_its_core(tmp_path, name, file, separator):
    (tmp_path / file).write_text("\n".join(separator.join(map(str, row)) for row in RATINGS) + "\n")
    data = load(name, tmp_path, core=2)
    assert data.ordered
    assert clicks_of(data) == [(7, 1), (7, 3), (7, 2), (9, 1), (9, 3), (9, 2)]
    assert data.biased.ratings.tolist() == [1.0] * 6
    assert "2-core: 6 of 7 interactions kept" in data.notes
    with pytest.raises(DebiasRecError, match="no user and item has 4 interactions"):
        load(name, tmp_path, core=4)


@pytest.mark.parametrize("line", ["1\t2\t3", "1\t2\tx\t4", "1 2 3 4"])
def test_a_malformed_line_of_movielens_is_shown(tmp_path, line):
    (tmp_path / "u.data").write_text("1\t1\t1\t1\n" + line + "\n")
    with pytest.raises(DebiasRecError, match=r"u\.data, line 2: expected .*whole numbers, got"):
        load("ml_100k", tmp_path)


def test_amazon_is_read_from_a_file_of_sequences(tmp_path):
    file = tmp_path / "Beauty.txt"
    file.write_text("5 30 10 20\n6 10 10 20\n")
    data = load("amazon", file, core=1)
    assert data.name == "amazon_beauty"
    assert clicks_of(data) == [(5, 30), (5, 10), (5, 20), (6, 10), (6, 20)]
    assert "1 repeated pair dropped" in data.notes
    file.write_text("5 30\n6\n")
    with pytest.raises(DebiasRecError, match="line 2: expected a user and the items"):
        load("amazon", file)
    with pytest.raises(DebiasRecError, match=r"one file of sequences: pass root=Beauty\.txt"):
        load("amazon", tmp_path)


def test_the_core_is_removed_again_and_again():
    # item 3 has two users; without user 1, who has one item left, it has one
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 2, 3, 3], "item": [3, 9, 3, 4, 5, 4, 5]})
    assert clicks_of(ordered_dataset("hand", frame, 2)) == [(2, 4), (2, 5), (3, 4), (3, 5)]
    with pytest.raises(DebiasRecError, match="core must be a whole number, at least 1, got 0"):
        ordered_dataset("hand", frame, 0)


@pytest.mark.parametrize(
    ("name", "folder", "sizes"),
    [("ml_100k", "ml_100k", (943, 1010, 96_216)), ("amazon", "amazon/Beauty.txt", (22_363, 12_101, 198_502))],
)
def test_the_published_files_have_their_sizes(data_root, name, folder, sizes):
    data = load(name, data_root / folder)
    assert (data.n_users, data.n_items, len(data.biased)) == sizes
    assert min(np.bincount(data.biased.items).min(), np.bincount(data.biased.users).min()) >= 5


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    events = [(user, item) for user in range(30) for item in generator.choice(25, 2 + user % 9, replace=False)]
    return ordered_dataset("clicks", pd.DataFrame(events, columns=["user", "item"]), 1)


def test_the_last_clicks_are_left_out_among_items_that_were_never_clicked(data):
    split = data.split("leave_one_out", 3)
    pairs = set(clicks_of(data))
    for user in range(data.n_users):
        own = data.biased.items[data.biased.users == user].tolist()
        kept = split.train.items[split.train.users == user].tolist()
        if len(own) < 3:
            assert kept == own
            assert user not in split.biased_test.users
            continue
        assert kept == own[:-2]
        for part, target, count in (
            (split.biased_validation, own[-2], VALIDATION_NEGATIVES),
            (split.biased_test, own[-1], TEST_NEGATIVES),
        ):
            rows = part.take(part.users == user)
            assert rows.items[rows.ratings == 1].tolist() == [target]
            others = rows.items[rows.ratings == 0]
            assert len(others) == count
            assert not {(data.user_ids[user], data.item_ids[item]) for item in others} & pairs


def test_the_seed_draws_the_other_items(data):
    first, again, other = (data.split("leave_one_out", seed).biased_test.items for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_ratings_without_time_order_are_not_left_out():
    with pytest.raises(DebiasRecError, match="needs interactions in time order, and simulated has none"):
        load("simulated", n_users=20, n_items=20).split("leave_one_out")


def test_a_set_of_short_sequences_cannot_be_split():
    data = ordered_dataset("short", pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1]}), 1)
    with pytest.raises(DebiasRecError, match="needs a user with three interactions, and short has none"):
        data.split("leave_one_out")


@pytest.mark.parametrize("by", ["activeness", "consistency", "random"])
def test_groups_are_equal_in_size_and_sorted_by_their_value(data, by):
    split = data.split("leave_one_out")
    groups = user_groups(split, by, 4, seed=1)
    assert sorted(np.bincount(groups)) == [7, 7, 8, 8]
    if by == "random":
        assert not np.array_equal(groups, user_groups(split, by, 4, seed=2))
        return
    values = np.bincount(split.train.users, minlength=30) if by == "activeness" else inconsistency(split)
    for group in range(3):
        assert values[groups == group].max() <= values[groups == group + 1].min()


def test_inconsistency_is_the_divergence_of_the_later_from_the_earlier_half():
    # popularity 3, 2, 1, 1 of items 0..3; two clusters: {0, 1} and {2, 3}
    rows = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 0)]
    data = ordered_dataset("hand", pd.DataFrame(rows, columns=["user", "item"]), 1)
    whole = Interactions(*np.array(rows).T, np.ones(len(rows)))
    split = Split(data, "hand", 0, train=whole)
    past, now = np.array([3 / 4, 1 / 4]), np.array([1 / 4, 3 / 4])
    values = inconsistency(split, clusters=2)
    assert values[0] == pytest.approx((now * np.log(now / past)).sum())
    assert values[1] == pytest.approx(0)
    # one click alone: it is the later half, the earlier one is empty
    now, past = np.array([2 / 3, 1 / 3]), np.array([1 / 2, 1 / 2])
    assert values[2] == pytest.approx((now * np.log(now / past)).sum())


def test_unknown_groupings_and_numbers_of_groups_are_refused(data):
    split = data.split("leave_one_out")
    with pytest.raises(DebiasRecError, match="unknown grouping 'activenes'; did you mean 'activeness'"):
        user_groups(split, "activenes", 3)
    with pytest.raises(DebiasRecError, match=r"n_groups must be a whole number in 1\.\.30, the users, got 31"):
        user_groups(split, "random", 31)
