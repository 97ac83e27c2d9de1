"""Coat shopping: 290 users, 300 coats, stars 1-5."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DebiasRecError
from .dataset import Dataset, Interactions
from .files import folder, missing_files, read_matrix
from .frame import assemble

FILES = ("train.ascii", "test.ascii")
FEATURES = "user_item_features"


def load_coat(root: str | PathLike | None = None, *, threshold: float = 4.0, drop_overlap: bool = False) -> Dataset:
    """Read Coat from the publisher's matrices.

    ``train.ascii`` (self-selected) and ``test.ascii`` (uniformly random coats) hold one line per user, 0 = no rating.
    ``user_item_features/{user,item}_features.ascii`` (14 and 33 one-hot columns, named by ``*_features_map.txt``) and
    ``propensities.ascii`` are read where they exist.

    Args:
        root: the folder.
        threshold: a rating >= threshold is positive.
        drop_overlap: remove the 366 random ratings whose pair is also self-selected (kept with a warning otherwise).

    Returns:
        290 users, 300 items, 6,960 biased and 4,640 uniform ratings (4,274 without the overlap).

    Raises:
        DebiasRecError: missing or malformed files.

    Source: Schnabel et al., "Recommendations as Treatments", ICML 2016.
    """
    path = folder("coat", root, FILES)
    if not all((path / file).is_file() for file in FILES):
        raise missing_files("coat", path, [" and ".join(FILES)])
    biased_matrix = read_matrix(path / FILES[0], (None, None))
    n_users, n_items = biased_matrix.shape
    uniform_matrix = read_matrix(path / FILES[1], (n_users, n_items))
    user_features = _features(path / FEATURES, "user", n_users)
    item_features = _features(path / FEATURES, "item", n_items)
    propensity_file = path / "propensities.ascii"
    given = read_matrix(propensity_file, (n_users, n_items)) if propensity_file.is_file() else None
    notes = [
        "no feature files" if user_features is None or item_features is None else _feature_note(path / FEATURES),
        "no propensities.ascii" if given is None else "propensities.ascii read",
    ]
    return assemble(
        name="coat",
        biased=_rated(biased_matrix),
        uniform=_rated(uniform_matrix),
        drop_overlap=drop_overlap,
        user_ids=pd.RangeIndex(n_users, name="user"),
        item_ids=pd.RangeIndex(n_items, name="item"),
        rating_scale=(1.0, 5.0),
        threshold=threshold,
        user_features=user_features,
        item_features=item_features,
        given_propensities=given,
        notes=notes,
    )


def _rated(matrix: np.ndarray) -> Interactions:
    users, items = np.nonzero(matrix)
    return Interactions(users, items, matrix[users, items])


def _features(path: Path, side: str, n: int) -> np.ndarray | None:
    file = path / f"{side}_features.ascii"
    if not file.is_file():
        return None
    matrix = read_matrix(file, (n, None)).astype(np.float32)
    names = _names(path, side)
    if names and len(names) != matrix.shape[1]:
        raise DebiasRecError(
            f"{file} has {matrix.shape[1]} columns, {side}_features_map.txt names {len(names)}: they must agree"
        )
    return matrix


def _names(path: Path, side: str) -> list[str]:
    file = path / f"{side}_features_map.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _feature_note(path: Path) -> str:
    """The kinds of features, taken from names such as ``gender:men``."""
    kinds = {side: list(dict.fromkeys(name.split(":")[0] for name in _names(path, side))) for side in ("user", "item")}
    return "features read; " + "; ".join(f"{side}: {', '.join(names) or 'no names'}" for side, names in kinds.items())
