"""Amazon reviews of one category: a line a user, items in time order."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DebiasRecError
from .dataset import Dataset
from .sequences import ordered_dataset


def load_amazon(root: str | PathLike | None = None, *, core: int = 5) -> Dataset:
    """Read a file of sequences: on each line a user's id, then the ids of the items reviewed, in time order.

    Args:
        root: the file, such as ``Beauty.txt``.
        core: users and items with fewer reviews are removed, again and again.

    Returns:
        A data set in time order, called by the file: ``amazon_beauty``.

    Raises:
        DebiasRecError: a missing or malformed file, or nothing is left.

    Source: McAuley et al., "Image-based Recommendations on Styles and Substitutes", SIGIR 2015.
    """
    if root is None or not Path(root).is_file():
        found = "" if root is None else f", got {root}"
        raise DebiasRecError(f"'amazon' is read from one file of sequences: pass root=Beauty.txt, say{found}")
    path = Path(root)
    rows = [line.split() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) < 2 or not all(field.isdecimal() for field in row):
            raise DebiasRecError(f"{path}, line {number}: expected a user and the items, whole numbers, got {row[:5]}")
    users = np.repeat([int(row[0]) for row in rows], [len(row) - 1 for row in rows])
    items = np.array([int(item) for row in rows for item in row[1:]])
    return ordered_dataset(f"amazon_{path.stem.lower()}", pd.DataFrame({"user": users, "item": items}), core)
