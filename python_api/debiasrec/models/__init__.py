"""Score models: the part of a method that turns a user and an item into a number."""

from __future__ import annotations

from debiasrec.models.additive_weights import AdditiveWeights
from debiasrec.models.base import Model
from debiasrec.models.clicks import ClickModel, Samples, Sequences
from debiasrec.models.deepfm import DeepFM
from debiasrec.models.din import DIN
from debiasrec.models.fair_exposure import fair_places
from debiasrec.models.fair_lists import FairLists
from debiasrec.models.inner_product import InnerProduct
from debiasrec.models.matrix_factorization import MatrixFactorization
from debiasrec.models.ncf import NCF
from debiasrec.models.nfm import NFM
from debiasrec.models.ordinal import OrdinalFactorization
from debiasrec.models.sampled_pairs import UnratedPairs, sampled_pairs
from debiasrec.models.stacked import StackedExposure, StackedFactors

MODELS: dict[str, type[Model]] = {
    model.kind: model
    for model in (
        DIN,
        DeepFM,
        FairLists,
        InnerProduct,
        MatrixFactorization,
        NCF,
        NFM,
        OrdinalFactorization,
        StackedFactors,
    )
}

__all__ = [
    "DIN",
    "MODELS",
    "NCF",
    "NFM",
    "AdditiveWeights",
    "ClickModel",
    "DeepFM",
    "FairLists",
    "InnerProduct",
    "MatrixFactorization",
    "Model",
    "OrdinalFactorization",
    "Samples",
    "Sequences",
    "StackedExposure",
    "StackedFactors",
    "UnratedPairs",
    "fair_places",
    "sampled_pairs",
]
