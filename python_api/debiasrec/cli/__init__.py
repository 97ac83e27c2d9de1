"""The command line ``debiasrec``."""

from . import comparing, experimenting, information, single, tuning
from .app import app, main

__all__ = ["app", "comparing", "experimenting", "information", "main", "single", "tuning"]
