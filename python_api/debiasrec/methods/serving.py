"""Recommendations by outside ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from debiasrec.data.validation import is_whole
from debiasrec.errors import DebiasRecError
from debiasrec.models import Model

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split


@dataclass(frozen=True)
class Catalogue:
    """Outside ids, and what each user has rated in training.

    Attributes:
        user_ids, item_ids: the position is the inside index.
        seen_offsets: int64 [U + 1]; the seen items of user u are seen_items[seen_offsets[u] : seen_offsets[u + 1]].
        seen_items: int64.
    """

    user_ids: pd.Index
    item_ids: pd.Index
    seen_offsets: np.ndarray
    seen_items: np.ndarray

    @staticmethod
    def of(split: Split) -> Catalogue:
        """The catalogue of a split; seen are the pairs of its training parts, biased and uniform."""
        data = split.dataset
        parts = [part for part in (split.train, split.uniform_train) if part is not None]
        users = np.concatenate([part.users for part in parts])
        items = np.concatenate([part.items for part in parts])
        offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=data.n_users))])
        return Catalogue(data.user_ids, data.item_ids, offsets, items[np.argsort(users, kind="stable")])


def recommend(model: Model, catalogue: Catalogue, users: Any, k: int) -> pd.DataFrame:
    """The k best unseen items of each user; see `Method.recommend`."""
    if not is_whole(k) or k < 1:
        raise DebiasRecError(f"k must be a whole number, at least 1, got {k!r}")
    one = isinstance(users, str) or np.ndim(users) == 0
    outside = pd.Index([users] if one else users)
    inside = catalogue.user_ids.get_indexer(outside)
    unknown = outside[inside < 0]
    if len(unknown):
        shown = ", ".join(repr(user) for user in unknown[:5].tolist())
        raise DebiasRecError(f"users: {len(unknown)} of {len(outside)} ids are not in the training data: {shown}")
    most = min(int(k), max(len(catalogue.item_ids), 1))
    scores, items = model.best(inside, most, seen=(catalogue.seen_offsets, catalogue.seen_items))
    rows, places = np.nonzero(items >= 0)
    return pd.DataFrame(
        {
            "user": catalogue.user_ids[inside[rows]],
            "item": catalogue.item_ids[items[rows, places]],
            "score": scores[rows, places],
            "rank": places + 1,
        }
    )
