"""Rated pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DebiasRecError
from .validation import as_indices, plural


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Rated pairs, one row each, with inside ids.

    Args:
        users: integer [n], 0..n_users-1. Kept as read-only int64.
        items: integer [n], 0..n_items-1. Kept as read-only int64.
        ratings: numeric [n], in stars. Kept as read-only float32.

    Raises:
        DebiasRecError: the three arrays are not one-dimensional and of one length.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray

    def __post_init__(self) -> None:
        for name, dtype in (("users", np.int64), ("items", np.int64), ("ratings", np.float32)):
            object.__setattr__(self, name, read_only(getattr(self, name), dtype))
        shapes = [self.users.shape, self.items.shape, self.ratings.shape]
        if self.users.ndim != 1 or len(set(shapes)) != 1:
            raise DebiasRecError(f"users, items and ratings must be vectors of one length, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"Interactions({plural(len(self), 'row')})"

    def take(self, index: np.ndarray | slice) -> Interactions:
        """The rows at ``index`` (positions, a boolean mask or a slice), in that order."""
        return Interactions(self.users[index], self.items[index], self.ratings[index])

    def pairs(self, n_items: int) -> np.ndarray:
        """One int64 key per row, ``user * n_items + item``."""
        return self.users * n_items + self.items

    @staticmethod
    def concatenate(*parts: Interactions) -> Interactions:
        """All rows of all parts, one part after the other; a pair that occurs twice stays twice."""
        return Interactions(
            np.concatenate([part.users for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.ratings for part in parts]),
        )


def read_only(values: np.ndarray, dtype: type) -> np.ndarray:
    """The values as a contiguous array of that type that can't be written, copied where the caller's own could be."""
    values = np.asarray(values)
    if dtype is np.int64:
        as_indices(values, "users and items")
    array: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
    array = array.copy() if array is values and values.flags.writeable else array.view()
    array.flags.writeable = False
    return array
