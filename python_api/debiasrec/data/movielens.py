"""MovieLens 100K and 1M: films that users rated, with the times of the ratings."""

from __future__ import annotations

from os import PathLike

import pandas as pd

from ..errors import DebiasRecError
from .dataset import Dataset
from .files import folder, missing_files
from .sequences import ordered_dataset

COLUMNS = ["user", "item", "rating", "time"]


def load_ml_100k(root: str | PathLike | None = None, *, core: int = 16) -> Dataset:
    """Read MovieLens 100K from the publisher's tab-separated ``u.data``; every rating is a click.

    Args:
        root: the folder.
        core: users and items with fewer clicks are removed, again and again.

    Returns:
        A data set in time order.

    Raises:
        DebiasRecError: a missing or malformed file, or nothing is left.

    Source: Harper and Konstan, "The MovieLens Datasets: History and Context", TiiS 2015.
    """
    return _load("ml_100k", root, "u.data", "\t", core)


def load_ml_1m(root: str | PathLike | None = None, *, core: int = 16) -> Dataset:
    """Read MovieLens 1M from the publisher's ``ratings.dat`` (``user::item::rating::time``); see `load_ml_100k`."""
    return _load("ml_1m", root, "ratings.dat", "::", core)


def _load(name: str, root: str | PathLike | None, file: str, separator: str, core: int) -> Dataset:
    path = folder(name, root, [file]) / file
    if not path.is_file():
        raise missing_files(name, path.parent, [file])
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    rows = [line.split(separator) for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) != len(COLUMNS) or not all(field.isdecimal() for field in row):
            wanted = separator.join(COLUMNS)
            raise DebiasRecError(
                f"{path}, line {number}: expected {wanted!r}, whole numbers, got {lines[number - 1]!r}"
            )
    return ordered_dataset(name, pd.DataFrame(rows, columns=COLUMNS).astype("int64"), core)
