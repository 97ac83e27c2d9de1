"""Data sets by name, data of one's own, and the named splits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from os import PathLike
from types import MappingProxyType

from ..errors import DebiasRecError
from ..naming import unknown_name
from .amazon import load_amazon
from .coat import load_coat
from .dataset import Dataset, Interactions, Split, Truth
from .frame import from_frame
from .movielens import load_ml_1m, load_ml_100k
from .semisynthetic import load_semi_synthetic, semi_synthetic
from .simulated import load_simulated
from .splits import SPLITS, make_split
from .yahoo_r3 import load_yahoo_r3

DATASETS: MappingProxyType[str, Callable[..., Dataset]] = MappingProxyType(
    {
        "simulated": load_simulated,
        "coat": load_coat,
        "yahoo_r3": load_yahoo_r3,
        "semi_synthetic": load_semi_synthetic,
        "ml_100k": load_ml_100k,
        "ml_1m": load_ml_1m,
        "amazon": load_amazon,
    }
)

__all__ = [
    "DATASETS",
    "SPLITS",
    "Dataset",
    "Interactions",
    "Split",
    "Truth",
    "from_frame",
    "load",
    "load_amazon",
    "load_coat",
    "load_ml_1m",
    "load_ml_100k",
    "load_semi_synthetic",
    "load_simulated",
    "load_yahoo_r3",
    "make_split",
    "semi_synthetic",
]


def load(name: str, root: str | PathLike | None = None, **options: object) -> Dataset:
    """Load a data set by name.

    Args:
        name: a key of ``DATASETS`` ("simulated", "coat", "yahoo_r3", "semi_synthetic", "ml_100k", "ml_1m", "amazon").
        root: the folder with the downloaded files; "simulated" needs none and ignores it.
        options: keyword options of the loader, such as ``drop_overlap`` (coat, yahoo_r3), ``core`` (ml_100k, ml_1m,
            amazon) or ``seed`` (simulated, semi_synthetic).

    Returns:
        The data set.

    Raises:
        DebiasRecError: an unknown name or option (the nearest known one is named), or whatever the loader finds wrong.
    """
    if name not in DATASETS:
        raise DebiasRecError(unknown_name("data set", name, DATASETS))
    loader = DATASETS[name]
    known = [option for option in inspect.signature(loader).parameters if option != "root"]
    for option in options:
        if option not in known:
            raise DebiasRecError(unknown_name(f"option of data set {name}", option, known))
    return loader(**options) if name == "simulated" else loader(root, **options)
