"""Clicks sampled from exposure and relevance that were fitted to real ratings, and so are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DebiasRecError
from .dataset import Dataset, Interactions, Truth
from .files import folder, missing_files
from .frame import from_frame
from .interactions import read_only
from .logistic_mf import logistic_mf
from .validation import is_whole

FACTORS = 50
# Of 1, 10 and 30 the best log loss on held-out pairs of MovieLens 100K, where it has settled after so many epochs.
L2, EPOCHS = 10.0, 20
# Amazon, as in Biif section 5.2: one pass over users, then items, and the first of each.
LEAST_PER_USER, LEAST_PER_ITEM, LARGEST = 10, 8, 3000


def load_semi_synthetic(root: str | PathLike | None = None, *, l2: float = L2, seed: int = 0) -> Dataset:
    """Read real ratings and make a semi-synthetic set of them, as ``semi_synthetic`` does.

    The folder holds ``u.data`` (MovieLens 100K: user, item, rating and time, separated by tabs) or
    ``ratings_CDs_and_Vinyl.csv`` (Amazon: the same, separated by commas). Of Amazon, users with less than 10 ratings
    are removed, then items with less than 8, and the first 3,000 users and 3,000 items in the order of the file stay.

    Args:
        root: the folder.
        l2, seed: as in ``semi_synthetic``.

    Returns:
        As ``semi_synthetic``.

    Raises:
        DebiasRecError: missing or malformed files, or an option out of range.
    """
    expected = [" or ".join(source.file for source in SOURCES)]
    path = folder("semi_synthetic", root, expected)
    for source in SOURCES:
        if (path / source.file).is_file():
            rows = source.cut(_read(path / source.file, source.separator))
            break
    else:
        raise missing_files("semi_synthetic", path, expected)
    return semi_synthetic(from_frame(rows, rating_scale=(1.0, 5.0), threshold=4.0, name=source.name), l2=l2, seed=seed)


def semi_synthetic(ratings: Dataset, *, factors: int = FACTORS, l2: float = L2, seed: int = 0) -> Dataset:
    """Sample clicks from exposure and relevance models of real ratings.

    Logistic matrix factorisations of all pairs give the truth,

        exposure[u,i]:  is the pair rated?        relevance[u,i]:  is it rated, and positive?

    and for every pair O ~ Bernoulli(exposure), R ~ Bernoulli(relevance), click = O R. All randomness follows from the
    seed. Memory: about 80 bytes a pair, 0.7 GB for 3,000 users and 3,000 items.

    Args:
        ratings: whose biased ratings the models are fitted to.
        factors: of both models.
        l2: coefficient of half the squared norm of their factors, > 0; the larger, the more exposure and relevance are
            a matter of the user and of the item alone. The default fits held-out pairs of MovieLens 100K best.
        seed: >= 0, of the models and of the samples.

    Returns:
        A data set of ratings 0 and 1 with ``truth``. Its biased rows are the clicks, all 1: what is not among them was
        not clicked. Its uniform rows are all pairs with their R, so a debiased test ranks the whole catalogue.

    Raises:
        DebiasRecError: an option out of range, or nothing is clicked.

    Source: Biif (TMLR 2024) section 5.2; Johnson 2014 for the factorisation.
    """
    for name, value, least in (("factors", factors, 1), ("seed", seed, 0)):
        if not is_whole(value) or value < least:
            raise DebiasRecError(f"{name} must be a whole number >= {least}, got {value!r}")
    if not 0 < l2 < np.inf:
        raise DebiasRecError(f"l2 must be a finite number > 0, got {l2!r}")
    shape = ratings.n_users, ratings.n_items
    rows = ratings.biased
    streams = [int(stream) for stream in np.random.SeedSequence(seed).generate_state(3)]
    positives = rows.take(ratings.positives(rows.ratings))
    exposure, relevance = (
        logistic_mf(part.pairs(shape[1]), *shape, factors=factors, l2=l2, epochs=EPOCHS, seed=stream)
        for part, stream in ((rows, streams[0]), (positives, streams[1]))
    )
    rng = np.random.default_rng(streams[2])
    exposed, relevant = rng.random(shape) < exposure, rng.random(shape) < relevance
    users, items = np.nonzero(exposed & relevant)
    if not len(users):
        raise DebiasRecError(f"{ratings.name}: nothing is clicked in the sample; its ratings are too few")
    relevance = read_only(relevance, np.float64)
    return Dataset(
        name=f"semi_synthetic_{ratings.name}",
        biased=Interactions(users, items, np.ones(len(users))),
        uniform=Interactions(*_every_pair(*shape), relevant.ravel()),
        n_users=shape[0],
        n_items=shape[1],
        user_ids=ratings.user_ids,
        item_ids=ratings.item_ids,
        rating_scale=(0.0, 1.0),
        threshold=1.0,
        truth=Truth(relevance=relevance, exposure=exposure, expected_rating=relevance),
        notes=(
            f"clicks sampled from models of {len(rows):,} ratings of {ratings.name}, seed {seed}",
            'the biased rows are clicks alone: methods of clicks take their negative pairs by negatives="all"',
        ),
    )


def _every_pair(n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(n_users), n_items), np.tile(np.arange(n_items), n_users)


@dataclass(frozen=True)
class Source:
    """A published file of ratings: how it is called and cut, and what is taken of it."""

    name: str
    file: str
    separator: str
    cut: Callable[[pd.DataFrame], pd.DataFrame]


LINES = "not lines of user, item, rating and time"


def _read(path: Path, separator: str) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, sep=separator, header=None, names=["user", "item", "rating", "time"], index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DebiasRecError(f"{path}: {LINES}: {str(error).strip()}") from error
    if frame.empty or frame.isna().any(axis=None):
        raise DebiasRecError(f"{path}: {LINES} separated by {separator!r}")
    return frame.drop_duplicates(["user", "item"])


def first_busy(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of busy users and items, of these the first ones."""
    frame = frame[frame.groupby("user")["item"].transform("size") >= LEAST_PER_USER]
    frame = frame[frame.groupby("item")["user"].transform("size") >= LEAST_PER_ITEM]
    first = {side: frame[side].unique()[:LARGEST] for side in ("user", "item")}
    return frame[frame["user"].isin(first["user"]) & frame["item"].isin(first["item"])]


SOURCES = (
    Source("ml_100k", "u.data", "\t", lambda frame: frame),
    Source("amazon_cds", "ratings_CDs_and_Vinyl.csv", ",", first_busy),
)
