"""Finding the files of a published data set, and reading its tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import DebiasRecError


def folder(name: str, root: str | PathLike | None, expected: Sequence[str]) -> Path:
    """The folder ``root``, or an error that says which files belong there."""
    files = ", ".join(expected)
    if root is None:
        raise DebiasRecError(f"'{name}' is read from files that you download: pass root=FOLDER with {files}")
    path = Path(root)
    if not path.is_dir():
        raise DebiasRecError(f"'{name}': no folder {path}; it should hold {files}")
    return path


def missing_files(name: str, path: Path, expected: Sequence[str]) -> DebiasRecError:
    """The error for files that a folder lacks; names those expected and those found."""
    found = sorted(entry.name for entry in path.iterdir())
    shown = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "") if found else "no files"
    return DebiasRecError(f"'{name}': {path} must hold {' or '.join(expected)}; found {shown}")


def read_matrix(path: Path, shape: tuple[int | None, int | None]) -> np.ndarray:
    """Read numbers separated by white space, float64.

    Args:
        path: the file.
        shape: expected (rows, columns); None accepts any number.

    Raises:
        DebiasRecError: a line that isn't numbers, lines of unequal length (with its number), or another shape.
    """
    rows = []
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            values = line.split()
            if not values:
                continue
            try:
                rows.append(np.array(values, dtype=np.float64))
            except ValueError:
                raise DebiasRecError(f"{path}, line {number}: expected numbers, got {line.strip()[:60]!r}") from None
            if len(rows[-1]) != len(rows[0]):
                raise DebiasRecError(f"{path}, line {number}: expected {len(rows[0])} numbers, got {len(rows[-1])}")
    found = (len(rows), len(rows[0]) if rows else 0)
    if not rows or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
        wanted = " x ".join("any" if want is None else str(want) for want in shape)
        raise DebiasRecError(f"{path}: expected {wanted} numbers, got {found[0]} x {found[1]}")
    return np.stack(rows)
