"""Ratings read as clicks: which pairs are negative, and pairs that were surely seen."""

from __future__ import annotations

import numpy as np

from .dataset import Split
from .interactions import Interactions

# Share of the users, by their number of training ratings, that `surely_seen` takes.
ACTIVE_USERS = 5


def every_pair(split: Split) -> Interactions:
    """All user-item pairs, user by user: those without a training rating have the lowest rating of the scale."""
    data, rows = split.dataset, split.train
    ratings = np.full(data.n_users * data.n_items, data.rating_scale[0], dtype=np.float32)
    ratings[rows.pairs(data.n_items)] = rows.ratings
    users, items = np.divmod(np.arange(len(ratings)), data.n_items)
    return Interactions(users, items, ratings)


def surely_seen(split: Split, *, unrated: bool) -> Interactions:
    """Pairs whose exposure can be taken for 1: of each of the most active users the most popular positive item and the
    most popular negative one, where there are such; popular are items with many positive training ratings.

    Args:
        split: activity is the number of training ratings, a fifth of all users counts as active. Ties go by id.
        unrated: choose negative ones from all pairs without a positive rating, not from the rated ones alone.

    Returns:
        At most two rows a user, positive ones first.

    Source: the validation set of Biif, "Low-variance estimator for missing-not-at-random implicit feedback".
    """
    data, train = split.dataset, split.train
    activity = np.bincount(train.users, minlength=data.n_users)
    active = np.zeros(data.n_users, dtype=bool)
    active[np.argsort(-activity, kind="stable")[: max(data.n_users // ACTIVE_USERS, 1)]] = True
    clicks = np.bincount(train.items[data.positives(train.ratings)], minlength=data.n_items)
    place = np.empty(data.n_items, dtype=np.int64)
    place[np.argsort(-clicks, kind="stable")] = np.arange(data.n_items)
    rows = every_pair(split) if unrated else train
    candidates = rows.take(active[rows.users])
    positive = data.positives(candidates.ratings)
    parts = (candidates.take(positive), candidates.take(~positive))
    return Interactions.concatenate(*(_first_of_each_user(part, place) for part in parts))


def _first_of_each_user(rows: Interactions, place: np.ndarray) -> Interactions:
    order = np.argsort(place[rows.items], kind="stable")
    return rows.take(order[np.unique(rows.users[order], return_index=True)[1]])
