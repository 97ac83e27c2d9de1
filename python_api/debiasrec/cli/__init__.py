"""The command line ``debiasrec``."""

from . import comparing, information, single, tuning
from .app import app, main

__all__ = ["app", "comparing", "information", "main", "single", "tuning"]
