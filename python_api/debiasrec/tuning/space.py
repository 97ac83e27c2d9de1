"""What is searched: options and their ranges, for all methods in one place.

A method is searched over those of its options that are listed here. Where the papers state ranges, these are theirs:
learning rates and weight decay of Bal (WWW 2023), AdaGrad's rates and the variance term of LTD (WSDM 2021), the
coefficients of CausalD (TKDE 2023), where all click models have one learning rate. The others span the settings of the
public programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from debiasrec.methods import Method
from debiasrec.methods.options import ranges


@dataclass(frozen=True)
class Interval:
    """Numbers from low to high, both included; searched by their logarithm where ``log``."""

    low: float
    high: float
    log: bool = True

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def rounded(self, value: float) -> float:
        """Three significant digits: more of them are noise, and a preset should be readable."""
        return min(max(float(f"{value:.3g}"), self.low), self.high)


Space = dict[str, "Interval | tuple[Any, ...]"]

# By the optimiser that takes the steps. Summed errors over blocks need small SGD steps, adaptive steps are scale-free.
LEARNING_RATES = {"sgd": Interval(1e-6, 1.0), "adam": Interval(1e-4, 5e-2), "adagrad": Interval(1e-3, 5e-2)}
LEARNING_RATES["lazy_adam"] = LEARNING_RATES["adam"]
# By the reduction: beside a sum the coefficient is absolute, beside a mean it is relative to the number of rated pairs.
# Sums of inversely weighted errors, as of IPS and LTD, need the upper decade.
L2 = {"sum": Interval(1e-3, 1e2), "mean": Interval(1e-2, 1e2)}
# Weight decay of upper models.
DECAY = Interval(1e-5, 0.1)

# Adam steps the upper models of bi-level methods, whatever steps the base.
UPPER_RATE = Interval(1e-5, 0.1)

OPTIONS: Space = {
    # propensities and imputation
    "clip_min": Interval(1e-3, 0.1),
    "imputation_factors": (2, 5, 10),
    "missing_weight": Interval(1e-3, 1.0),
    # AutoDebias
    "imputation_weight": Interval(1e-2, 1.0),
    "w1_lr": UPPER_RATE,
    "w2_lr": UPPER_RATE,
    # Bal
    "balance": Interval(2.0**-9, 1.0),
    "balance_lr": Interval(1e-4, 1e-2),
    # LTD
    "variance": Interval(1e-2, 1e2),
    "propensity_hidden": (4, 16, 64, 256),
    "activation": ("relu", "sigmoid", "tanh"),
    # InterD
    "gamma_observed": Interval(-2.0, -0.01, log=False),
    "gamma_missing": Interval(-2.0, -0.01, log=False),
    "beta": Interval(1e-3, 1.0),
    # CausalD and its peers
    "label_strength": Interval(0.01, 10.0),
    "feature_strength": Interval(0.01, 10.0),
    "adversary_strength": Interval(0.01, 10.0),
    "share_min": Interval(0.1, 0.5),
    # CausE, KD-Label, MF-PD, CPT-V
    "pull": Interval(1e-5, 10.0),
    "strength": Interval(0.1, 1.0, log=False),
    "gamma": Interval(1e-6, 0.5),
    "clusters": (5, 10, 20),
    # ExpoMF, CEB
    "precision": Interval(0.1, 10.0),
    "likelihood": Interval(1.0, 1e2),
}


def search_space(method: Method) -> Space:
    """The options of a method that are searched.

    Args:
        method: with the settings to start from; its optimizer and reduction decide the ranges of rates and decays.

    Returns:
        Option name to an Interval, or to a tuple of values; empty for a method with nothing to search.
    """
    optimizer, reduction = getattr(method, "optimizer", "adam"), getattr(method, "reduction", "mean")
    endings = {"lr": LEARNING_RATES[optimizer], "l2": L2[reduction], "decay": DECAY}
    searched: Space = {}
    for option in ranges(method):
        if option == "lr" and method.sequential:
            continue
        ending = option.rpartition("_")[2]
        if option in OPTIONS:
            searched[option] = OPTIONS[option]
        elif ending in endings:
            searched[option] = endings[ending]
    return searched
