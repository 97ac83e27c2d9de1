"""Score models: the part of a method that turns a user and an item into a number."""

from __future__ import annotations

from debiasrec.models.additive_weights import AdditiveWeights
from debiasrec.models.base import Model
from debiasrec.models.fair_exposure import fair_places
from debiasrec.models.fair_lists import FairLists
from debiasrec.models.inner_product import InnerProduct
from debiasrec.models.matrix_factorization import MatrixFactorization
from debiasrec.models.ncf import NCF
from debiasrec.models.nfm import NFM
from debiasrec.models.ordinal import OrdinalFactorization
from debiasrec.models.sampled_pairs import UnratedPairs, sampled_pairs

MODELS: dict[str, type[Model]] = {
    model.kind: model
    for model in (
        FairLists,
        InnerProduct,
        MatrixFactorization,
        NCF,
        NFM,
        OrdinalFactorization,
    )
}

__all__ = [
    "MODELS",
    "NCF",
    "NFM",
    "AdditiveWeights",
    "FairLists",
    "InnerProduct",
    "MatrixFactorization",
    "Model",
    "OrdinalFactorization",
    "UnratedPairs",
    "fair_places",
    "sampled_pairs",
]
