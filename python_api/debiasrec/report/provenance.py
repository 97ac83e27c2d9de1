"""What a result was computed with."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

import debias_ext
from debias_ext import _C

PACKAGES = ("torch", "numpy", "pandas", "scipy", "scikit-learn")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, the machine, threads and the instruction set that the operators picked.

    Args:
        device: where the models were trained.

    Returns:
        Plain values, ready for JSON.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {"debias-ext": debias_ext.__version__, **{name: version(name) for name in PACKAGES}},
        "threads": torch.get_num_threads(),
        "simd": _C.simd_level(),
        "device": device,
        "command": sys.argv,
    }
