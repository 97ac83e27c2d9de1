"""Score models: the part of a method that turns a user and an item into a number."""

from __future__ import annotations

from debiasrec.models.all_pairs import all_pairs_inner, sampled_pairs
from debiasrec.models.matrix_factorization import TABLE_NAMES, MatrixFactorization

__all__ = ["TABLE_NAMES", "MatrixFactorization", "all_pairs_inner", "sampled_pairs"]
