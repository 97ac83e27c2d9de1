"""Debiased recommendation: data, propensities, methods, and evaluation on both tests."""

from __future__ import annotations

from debias_ext import __version__

from . import data, methods, propensity
from .data import Dataset, Interactions, Split, from_frame, load
from .errors import DebiasRecError
from .evaluation import Comparison, compare, evaluate
from .methods import load_model
from .tuning import Tuning, tune

__all__ = [
    "Comparison",
    "Dataset",
    "DebiasRecError",
    "Interactions",
    "Split",
    "Tuning",
    "__version__",
    "compare",
    "data",
    "evaluate",
    "from_frame",
    "load",
    "load_model",
    "methods",
    "propensity",
    "tune",
]
