"""Loads the compiled module, and says in one sentence what to do when it cannot be loaded."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

MINIMUM_TORCH = (2, 13)


def torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def load() -> ModuleType:
    """Returns `debias_ext._C`.

    Raises:
        ImportError: torch is too old, or the compiled module is missing or does not fit this Python.
    """
    if torch_version() < MINIMUM_TORCH:
        raise ImportError(
            f"debias_ext needs torch >= 2.13, found {torch.__version__}: pip install --upgrade 'torch>=2.13'"
        )
    try:
        return importlib.import_module("debias_ext._C")
    except ImportError as error:
        raise ImportError(
            f"debias_ext._C could not be loaded beside torch {torch.__version__} ({error}). It is compiled for one "
            "CPython version: reinstall with `pip install --force-reinstall --no-deps debias-ext`, or build it from a "
            "checkout with `pip install --no-build-isolation .`"
        ) from error


_C = load()
