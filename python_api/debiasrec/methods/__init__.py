"""Training methods: what is fitted to the biased ratings, and how the bias is corrected."""

from __future__ import annotations

from debiasrec.methods.base import Method
from debiasrec.methods.dr import DR
from debiasrec.methods.ips import IPS
from debiasrec.methods.mf import MF, MFCombine, MFUniform
from debiasrec.methods.persistence import load_model
from debiasrec.methods.presets import preset, preset_record
from debiasrec.methods.registry import REGISTRY, make
from debiasrec.methods.snips import SNIPS
from debiasrec.methods.trained import Trained

__all__ = [
    "DR",
    "IPS",
    "MF",
    "REGISTRY",
    "SNIPS",
    "MFCombine",
    "MFUniform",
    "Method",
    "Trained",
    "load_model",
    "make",
    "preset",
    "preset_record",
]
