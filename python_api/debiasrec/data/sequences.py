"""Interactions in time order: their k-core, and the split that leaves the last ones out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

import debias_ext

from ..errors import DebiasRecError
from .dataset import Dataset, Split
from .interactions import Interactions
from .validation import is_whole, plural

VALIDATION_NEGATIVES = 10
TEST_NEGATIVES = 100


def ordered_dataset(name: str, events: pd.DataFrame, core: int) -> Dataset:
    """A data set of clicks in time order.

    Every interaction is a positive, whatever its rating. Of a repeated pair the first one stays.

    Args:
        name: how reports call it.
        events: columns user, item and, where rows are not in time order yet, time; other columns are ignored.
        core: users and items with fewer interactions are removed, again and again until none is left.

    Returns:
        A data set with ``ordered``: rows user by user, each user's in time order; ratings of 1 on a scale 0..1.

    Raises:
        DebiasRecError: core is no whole number of at least 1, or nothing is left.

    Source: Zhang et al., "Causal Distillation for Alleviating Performance Heterogeneity in Recommender Systems",
        TKDE 2023, section 4.1.
    """
    if not is_whole(core) or core < 1:
        raise DebiasRecError(f"{name}: core must be a whole number, at least 1, got {core!r}")
    keys = ["user", "time"] if "time" in events.columns else ["user"]
    events = events.sort_values(keys, kind="stable")
    kept = events.drop_duplicates(["user", "item"])
    notes = [f"{plural(len(events) - len(kept), 'repeated pair')} dropped"] if len(kept) < len(events) else []
    kept, before = _core(kept, core), len(kept)
    if kept.empty:
        raise DebiasRecError(f"{name}: no user and item has {core} interactions with others that have; lower core")
    notes.append(f"{core}-core: {len(kept):,} of {plural(before, 'interaction')} kept")
    user_ids, item_ids = (pd.Index(kept[side].unique(), name=side).sort_values() for side in ("user", "item"))
    users, items = user_ids.get_indexer(kept["user"]), item_ids.get_indexer(kept["item"])
    return Dataset(
        name=name,
        biased=Interactions(users, items, np.ones(len(kept), np.float32)),
        uniform=None,
        n_users=len(user_ids),
        n_items=len(item_ids),
        user_ids=user_ids,
        item_ids=item_ids,
        rating_scale=(0.0, 1.0),
        threshold=1.0,
        ordered=True,
        notes=tuple(notes),
    )


def _core(events: pd.DataFrame, core: int) -> pd.DataFrame:
    while True:
        counts = [events.groupby(side)[side].transform("size") for side in ("user", "item")]
        enough = (counts[0] >= core) & (counts[1] >= core)
        if enough.all():
            return events
        events = events[enough]


def leave_one_out(dataset: Dataset, name: str, seed: int) -> Split:
    """The last interaction of every user tests, the one before validates, the others train.

    Each of the two is followed by items that the user never interacted with, rated 0: 100 in the test, 10 in the
    validation. Users with fewer than three interactions train only.

    Args:
        dataset: one in time order.
        name: of the split.
        seed: of the items drawn.

    Raises:
        DebiasRecError: the data have no time order, or no user has three interactions.
    """
    if not dataset.ordered:
        raise DebiasRecError(f"split '{name}' needs interactions in time order, and {dataset.name} has none")
    rows = dataset.biased
    lengths = np.bincount(rows.users, minlength=dataset.n_users)
    last = np.cumsum(lengths)[lengths >= 3] - 1
    if not len(last):
        raise DebiasRecError(f"split '{name}' needs a user with three interactions, and {dataset.name} has none")
    held = np.zeros(len(rows), bool)
    held[last] = held[last - 1] = True
    observed = (torch.tensor(rows.users), torch.tensor(rows.items))
    sampler = debias_ext.PairSampler(*observed, n_users=dataset.n_users, n_items=dataset.n_items, seed=seed)
    return Split(
        dataset=dataset,
        name=name,
        seed=seed,
        train=rows.take(~held),
        biased_validation=_among_others(rows.take(last - 1), sampler, VALIDATION_NEGATIVES),
        biased_test=_among_others(rows.take(last), sampler, TEST_NEGATIVES),
    )


def _among_others(targets: Interactions, sampler: debias_ext.PairSampler, count: int) -> Interactions:
    """Each target with `count` items, drawn with replacement, that its user never interacted with."""
    users, items = (column.numpy() for column in sampler.negatives(torch.tensor(targets.users), count))
    every = Interactions.concatenate(targets, Interactions(users, items, np.zeros(len(users))))
    return every.take(np.argsort(every.users, kind="stable"))
