"""Yahoo! R3 music: 15,400 users, 1,000 songs, stars 1-5."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DebiasRecError
from .dataset import Dataset, Interactions
from .files import folder, missing_files
from .frame import assemble

WHOLE_NUMBER = re.compile(r" *[+-]?[0-9]{1,18} *")
N_USERS, N_ITEMS = 15_400, 1_000


@dataclass(frozen=True)
class Layout:
    """One way in which the ratings are distributed: two files, their separator and their first id."""

    summary: str
    files: tuple[str, str]
    separator: str
    first_id: int


LAYOUTS = (
    Layout(
        "the publisher's tab-separated files, ids from 1",
        ("ydata-ymusic-rating-study-v1_0-train.txt", "ydata-ymusic-rating-study-v1_0-test.txt"),
        "\t",
        1,
    ),
    Layout("comma-separated files, ids from 0", ("user.txt", "random.txt"), ",", 0),
)


def load_yahoo_r3(root: str | PathLike | None = None, *, threshold: float = 4.0, drop_overlap: bool = False) -> Dataset:
    """Read Yahoo! R3 in either layout; the notes of the data set say which was found.

    The publisher's ``ydata-ymusic-rating-study-v1_0-train.txt`` and ``-test.txt`` (user, item, rating separated by
    tabs, ids from 1) come first; otherwise ``user.txt`` and ``random.txt`` (commas, ids from 0).

    Args:
        root: the folder.
        threshold: a rating >= threshold is positive.
        drop_overlap: remove uniform rows whose pair is also a biased row (the published files have none).

    Returns:
        15,400 users, 1,000 items, 311,704 biased and 54,000 uniform ratings (10 of each of 5,400 users). Outside ids
        are those of the files.

    Raises:
        DebiasRecError: missing files (the expected names are listed), or a malformed line (file and line number).

    Source: Marlin and Zemel, "Collaborative Prediction and Ranking with Non-Random Missing Data", RecSys 2009.
    """
    pairs = [" and ".join(layout.files) for layout in LAYOUTS]
    path = folder("yahoo_r3", root, [" or ".join(pairs)])
    for layout in LAYOUTS:
        if all((path / file).is_file() for file in layout.files):
            break
    else:
        raise missing_files("yahoo_r3", path, pairs)
    biased, uniform = (read_ratings(path / file, layout.separator, layout.first_id) for file in layout.files)
    return assemble(
        name="yahoo_r3",
        biased=biased,
        uniform=uniform,
        drop_overlap=drop_overlap,
        user_ids=pd.RangeIndex(layout.first_id, N_USERS + layout.first_id, name="user"),
        item_ids=pd.RangeIndex(layout.first_id, N_ITEMS + layout.first_id, name="item"),
        rating_scale=(1.0, 5.0),
        threshold=threshold,
        notes=[f"found {layout.summary}: {' and '.join(layout.files)}"],
    )


def read_ratings(path: Path, separator: str, first_id: int) -> Interactions:
    """Read ``user<separator>item<separator>rating`` lines of whole numbers.

    Raises:
        DebiasRecError: a malformed line, an id or a rating out of range, with the file and the line number.
    """
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            header=None,
            names=["user", "item", "rating"],
            dtype=np.int64,
            index_col=False,
            skip_blank_lines=False,
            on_bad_lines="error",
        )
    except (ValueError, OverflowError):
        raise _malformed(path, separator) from None
    if frame.empty:
        raise DebiasRecError(f"{path} is empty, expected lines of user, item and rating separated by {separator!r}")
    user, item, rating = (frame[column].to_numpy() for column in frame)
    for name, values, low, high in (
        ("user", user, first_id, first_id + N_USERS - 1),
        ("item", item, first_id, first_id + N_ITEMS - 1),
        ("rating", rating, 1, 5),
    ):
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise DebiasRecError(
                f"{path}, line {wrong[0] + 1}: {name} must lie in {low}..{high}, got {values[wrong[0]]} "
                f"({len(wrong):,} such lines)"
            )
    return Interactions(user - first_id, item - first_id, rating)


def _malformed(path: Path, separator: str) -> DebiasRecError:
    """Find the first line that the fast parser refused."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = line.rstrip("\r\n").split(separator)
            if len(fields) != 3 or not all(WHOLE_NUMBER.fullmatch(field) for field in fields):
                return DebiasRecError(
                    f"{path}, line {number}: expected user{separator!r}item{separator!r}rating as whole numbers, "
                    f"got {line.rstrip()[:60]!r}"
                )
    return DebiasRecError(f"{path} is not readable as lines of user, item and rating")
