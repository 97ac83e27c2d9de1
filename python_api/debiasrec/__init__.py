"""Debiased recommendation: data, propensities, methods, and evaluation on both tests."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from . import data, methods, propensity
from .data import Dataset, Interactions, Split, from_frame, load
from .errors import DebiasRecError
from .evaluation import Comparison, compare, evaluate
from .methods import load_model

try:
    __version__ = version("debias-ext")
except PackageNotFoundError:  # run from a checkout
    __version__ = "0+unknown"

__all__ = [
    "Comparison",
    "Dataset",
    "DebiasRecError",
    "Interactions",
    "Split",
    "compare",
    "data",
    "evaluate",
    "from_frame",
    "load",
    "load_model",
    "methods",
    "propensity",
]
