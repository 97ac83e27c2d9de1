"""Score models: the part of a method that turns a user and an item into a number."""

from __future__ import annotations

from debiasrec.models.matrix_factorization import TABLE_NAMES, MatrixFactorization
from debiasrec.models.sampled_pairs import sampled_pairs

__all__ = ["TABLE_NAMES", "MatrixFactorization", "sampled_pairs"]
