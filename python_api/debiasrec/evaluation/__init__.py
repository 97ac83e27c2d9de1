"""Evaluation on the biased and the debiased test side by side, and comparison over seeds."""

from .compare import compare, validation_auc
from .comparison import Comparison
from .evaluate import evaluate
from .significance import paired_t_test

__all__ = ["Comparison", "compare", "evaluate", "paired_t_test", "validation_auc"]
