"""Ratings read as clicks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from debiasrec.data import Dataset, Interactions, Split
from debiasrec.data.clicks import every_pair, surely_seen

STARS = np.array(
    [
        # items 1 and 3 have two positive ratings each, the others one or none
        [5, 4, 1, 0, 2, 1],  # the most active user, with user 1
        [0, 5, 3, 4, 2, 1],
        [0, 0, 0, 5, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 2, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 5],
    ]
)


def split_of(stars: np.ndarray) -> Split:
    users, items = np.nonzero(stars)
    rows = Interactions(users, items, stars[users, items])
    ids = [pd.RangeIndex(n) for n in stars.shape]
    return Split(Dataset("hand", rows, None, *stars.shape, *ids, (1.0, 5.0), 4.0), "hand", 0, train=rows)


def listed(rows: Interactions) -> list[tuple[int, int, float]]:
    return list(zip(rows.users.tolist(), rows.items.tolist(), rows.ratings.tolist(), strict=True))


def test_the_seen_pairs_are_the_most_popular_of_each_class_of_the_most_active_users():
    split = split_of(STARS)
    # Users 0 and 1 are the fifth that rated most. Popularity 1, 2, 0, 2, 0, 1 of the items: ties go by id.
    assert listed(surely_seen(split, unrated=False)) == [(0, 1, 4.0), (1, 1, 5.0), (0, 5, 1.0), (1, 5, 1.0)]


def test_a_user_without_one_of_the_classes_gives_the_other_alone():
    stars = STARS.copy()
    stars[1, [1, 3]] = 3
    split = split_of(stars)
    assert listed(surely_seen(split, unrated=False)) == [(0, 0, 5.0), (0, 5, 1.0), (1, 1, 3.0)]


def test_unrated_pairs_are_negative_among_all_pairs():
    split = split_of(STARS)
    rows = every_pair(split)
    assert len(rows) == STARS.size
    np.testing.assert_array_equal(rows.ratings.reshape(STARS.shape), np.maximum(STARS, 1))
    # Item 3 is as popular as item 1: user 0 has not rated it, user 1 likes it.
    assert listed(surely_seen(split, unrated=True)) == [(0, 1, 4.0), (1, 1, 5.0), (0, 3, 1.0), (1, 0, 1.0)]


def test_the_validation_rows_play_no_part():
    split = split_of(STARS)
    held_out = Interactions([9, 9, 9, 9, 9], [0, 1, 2, 3, 4], [5, 5, 5, 5, 5])
    other = Split(split.dataset, "hand", 0, train=split.train, biased_validation=held_out)
    assert listed(surely_seen(other, unrated=False)) == listed(surely_seen(split, unrated=False))
