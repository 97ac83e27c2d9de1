"""What every loader returns: rated pairs, a data set with its two kinds of feedback, and a split of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from ..errors import DebiasRecError
from .interactions import Interactions, read_only
from .validation import check_interactions, check_matrix, check_scale, check_threshold, plural


@dataclass(frozen=True, eq=False)
class Truth:
    """What only a simulation knows, each float64 [U, I].

    Args:
        relevance: P(rating >= threshold).
        exposure: the Bernoulli probability with which the pair was sampled into the biased part, given its rating.
        expected_rating: the mean of the rating, in stars.
    """

    relevance: np.ndarray
    exposure: np.ndarray
    expected_rating: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, read_only(getattr(self, field.name), np.float64))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Self-selected (biased) ratings of a set of users, and ratings of uniformly random items where there are any.

    Args:
        name: how reports call it.
        biased: ratings that users chose to give.
        uniform: ratings of items drawn uniformly at random, or None.
        n_users: U.
        n_items: I.
        user_ids: outside ids [U]; the position is the inside index.
        item_ids: outside ids [I]; the position is the inside index.
        rating_scale: (lowest, highest) possible rating.
        threshold: a rating >= threshold is a positive.
        user_features: float32 [U, f] or None.
        item_features: float32 [I, f] or None.
        given_propensities: float64 [U, I] in (0, 1] that came with the data, or None.
        truth: known probabilities of a simulation, or None.
        notes: what the loader found or decided, one sentence each.
        ordered: whether the biased rows are clicks in time order, user by user.

    Raises:
        DebiasRecError: ids out of range, ratings outside the scale, duplicate pairs, or a matrix of another shape.
    """

    name: str
    biased: Interactions
    uniform: Interactions | None
    n_users: int
    n_items: int
    user_ids: pd.Index
    item_ids: pd.Index
    rating_scale: tuple[float, float]
    threshold: float
    user_features: np.ndarray | None = None
    item_features: np.ndarray | None = None
    given_propensities: np.ndarray | None = None
    truth: Truth | None = None
    notes: tuple[str, ...] = ()
    ordered: bool = False

    def __post_init__(self) -> None:
        for side, ids, n in (("user", self.user_ids, self.n_users), ("item", self.item_ids, self.n_items)):
            if len(ids) != n or not ids.is_unique:
                raise DebiasRecError(f"{side}_ids must hold {n} distinct ids (n_{side}s), got {len(ids)}")
        check_threshold(self.threshold, check_scale(self.rating_scale))
        for label in ("biased", "uniform"):
            part = getattr(self, label)
            if part is not None:
                check_interactions(part, label, self.user_ids, self.item_ids, self.rating_scale)
        self._keep_matrix("user_features", np.float32, self.n_users, None)
        self._keep_matrix("item_features", np.float32, self.n_items, None)
        self._keep_matrix("given_propensities", np.float64, self.n_users, self.n_items)

    def _keep_matrix(self, name: str, dtype: type, n_rows: int, n_columns: int | None) -> None:
        if getattr(self, name) is not None:
            matrix = read_only(getattr(self, name), dtype)
            check_matrix(matrix, name, n_rows, n_columns)
            object.__setattr__(self, name, matrix)

    def __repr__(self) -> str:
        uniform = "no uniform ones" if self.uniform is None else f"{len(self.uniform):,} uniform ones"
        return (
            f"Dataset({self.name!r}: {plural(self.n_users, 'user')}, {plural(self.n_items, 'item')}, "
            f"{plural(len(self.biased), 'biased rating')}, {uniform})"
        )

    def positives(self, ratings: np.ndarray) -> np.ndarray:
        """Bool [n]: which of the ratings (in stars) are positive."""
        return np.asarray(ratings, dtype=np.float32) >= np.float32(self.threshold)

    def split(self, name: str, seed: int = 0) -> Split:
        """Cut the data by a named protocol.

        Args:
            name: one of ``debiasrec.data.SPLITS`` ("autodebias", "bal", "interd", "ltd", "implicit", "leave_one_out").
            seed: seed of the permutation; the same seed gives the same parts.

        Raises:
            DebiasRecError: an unknown name, uniform ratings are needed and absent, or a part would be empty.
        """
        from .splits import make_split

        return make_split(self, name, seed)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything a method can see: ids, ratings, scale, threshold, features, propensities."""
        digest = hashlib.sha256()
        header = [list(map(float, self.rating_scale)), float(self.threshold)]
        for value in (header, _plain(self.user_ids), _plain(self.item_ids)):
            digest.update(json.dumps(value).encode())
        arrays = [self.user_features, self.item_features, self.given_propensities]
        for part in (self.biased, self.uniform):
            arrays += [None, None, None] if part is None else [part.users, part.items, part.ratings]
        for array in arrays:
            digest.update(b"none" if array is None else f"{array.dtype.str}{array.shape}".encode())
            if array is not None:
                digest.update(array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """A data set cut into parts by a named protocol; a part that the protocol does not have is None."""

    dataset: Dataset
    name: str
    seed: int
    train: Interactions
    biased_validation: Interactions | None = None
    biased_test: Interactions | None = None
    uniform_train: Interactions | None = None
    uniform_validation: Interactions | None = None
    uniform_test: Interactions | None = None

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(part):,}" for name, part in self.parts())
        return f"Split({self.name!r}, seed {self.seed}, of {self.dataset.name!r}: {parts})"

    def parts(self) -> Iterator[tuple[str, Interactions]]:
        """The names and rows of the parts that exist, biased ones first."""
        for field in fields(self)[3:]:
            part = getattr(self, field.name)
            if part is not None:
                yield field.name, part

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the rows of every part, the data set's fingerprint and, where it is known, its truth."""
        truth = self.dataset.truth
        arrays = [] if truth is None else [getattr(truth, field.name) for field in fields(truth)]
        digest = hashlib.sha256(self.dataset.fingerprint().encode())
        for name, part in self.parts():
            digest.update(f"{name} {len(part)}".encode())
            arrays += [part.users, part.items, part.ratings]
        for array in arrays:
            digest.update(array.tobytes())
        return digest.hexdigest()

    def counts(self) -> pd.DataFrame:
        """A row per part: part, rows, users, items, positives."""
        rows = [
            (
                name,
                len(part),
                len(np.unique(part.users)),
                len(np.unique(part.items)),
                int(self.dataset.positives(part.ratings).sum()),
            )
            for name, part in self.parts()
        ]
        return pd.DataFrame(rows, columns=["part", "rows", "users", "items", "positives"])


def check_split(split: object) -> None:
    """Raise unless this is a split: handing over the whole data set is an easy mistake."""
    if not isinstance(split, Split):
        raise DebiasRecError(f"expected a Split, as data.split('interd') returns it, got {type(split).__name__}")


def _plain(ids: pd.Index) -> list:
    return [value if isinstance(value, str) else str(value) for value in ids.tolist()]
