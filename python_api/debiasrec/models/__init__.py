"""Score models: the part of a method that turns a user and an item into a number."""

from __future__ import annotations

from debiasrec.models.additive_weights import AdditiveWeights
from debiasrec.models.base import Model
from debiasrec.models.matrix_factorization import MatrixFactorization
from debiasrec.models.nfm import NFM
from debiasrec.models.ordinal import OrdinalFactorization
from debiasrec.models.sampled_pairs import UnratedPairs, sampled_pairs

MODELS: dict[str, type[Model]] = {model.kind: model for model in (MatrixFactorization, NFM, OrdinalFactorization)}

__all__ = [
    "MODELS",
    "NFM",
    "AdditiveWeights",
    "MatrixFactorization",
    "Model",
    "OrdinalFactorization",
    "UnratedPairs",
    "sampled_pairs",
]
