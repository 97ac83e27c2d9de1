"""Score models: the part of a method that turns a user and an item into a number."""

from __future__ import annotations

from debiasrec.models.base import Model
from debiasrec.models.matrix_factorization import MatrixFactorization
from debiasrec.models.sampled_pairs import sampled_pairs

MODELS: dict[str, type[Model]] = {model.kind: model for model in (MatrixFactorization,)}

__all__ = ["MODELS", "MatrixFactorization", "Model", "sampled_pairs"]
