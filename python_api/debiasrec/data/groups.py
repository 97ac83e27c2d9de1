"""Groups of users by how active they are, by how much their taste moved, or at random."""

from __future__ import annotations

import numpy as np

from ..errors import DebiasRecError
from ..naming import unknown_name
from .dataset import Split
from .validation import is_whole

GROUPINGS = ("activeness", "consistency", "random")
CLUSTERS = 18


def user_groups(split: Split, by: str, n_groups: int, seed: int = 0) -> np.ndarray:
    """The group of every user, int64 [U] in 0..n_groups - 1; groups are as equal in size as can be.

    Users are sorted by a value and cut: "activeness", the number of training rows; "consistency", how far the second
    half of a user's training rows went from the first, `inconsistency`; "random", a permutation by the seed. Ties go by
    user.

    Args:
        split: ``split.train`` is read, in time order.
        by: one of GROUPINGS.
        n_groups: at least 1, at most the number of users.
        seed: of the random groups.

    Raises:
        DebiasRecError: an unknown grouping, or a number of groups out of range.

    Source: Zhang et al., CausalD, TKDE 2023, section 4.1.
    """
    n_users = split.dataset.n_users
    if by not in GROUPINGS:
        raise DebiasRecError(unknown_name("grouping", by, GROUPINGS))
    if not is_whole(n_groups) or not 1 <= n_groups <= n_users:
        raise DebiasRecError(f"n_groups must be a whole number in 1..{n_users}, the users, got {n_groups!r}")
    if by == "activeness":
        values = np.bincount(split.train.users, minlength=n_users)
    elif by == "consistency":
        values = inconsistency(split)
    else:
        values = np.random.default_rng(seed).permutation(n_users)
    groups = np.empty(n_users, np.int64)
    groups[np.argsort(values, kind="stable")] = np.arange(n_users) * n_groups // n_users
    return groups


def inconsistency(split: Split, clusters: int = CLUSTERS) -> np.ndarray:
    """KL(now || past) of every user, float64 [U], between the later and the earlier half of the training rows.

    The distributions are over clusters of items, equally many in each, by popularity; one is added to every count.

    Args:
        split: ``split.train`` is read, in time order.
        clusters: how many.
    """
    data, rows = split.dataset, split.train
    popularity = np.bincount(rows.items, minlength=data.n_items)
    cluster = np.empty(data.n_items, np.int64)
    cluster[np.argsort(-popularity, kind="stable")] = np.arange(data.n_items) * clusters // data.n_items
    order = np.argsort(rows.users, kind="stable")
    users, own = rows.users[order], cluster[rows.items[order]]
    counts = np.bincount(users, minlength=data.n_users)
    place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    late = place >= counts[users] // 2
    past, now = (_shares(users[half] * clusters + own[half], data.n_users, clusters) for half in (~late, late))
    return (now * np.log(now / past)).sum(1)


def _shares(cells: np.ndarray, n_users: int, clusters: int) -> np.ndarray:
    counts = np.bincount(cells, minlength=n_users * clusters).reshape(n_users, clusters) + 1.0
    return counts / counts.sum(1, keepdims=True)
