"""Evaluation on the biased and the debiased test side by side, and comparison over seeds."""

from .compare import compare
from .comparison import Comparison
from .evaluate import evaluate
from .exposure import ExposureCorrelation, exposure_correlation
from .relmf_variant import relmf_variant
from .significance import paired_t_test
from .validation import validation_auc, validation_value

__all__ = [
    "Comparison",
    "ExposureCorrelation",
    "compare",
    "evaluate",
    "exposure_correlation",
    "paired_t_test",
    "relmf_variant",
    "validation_auc",
    "validation_value",
]
