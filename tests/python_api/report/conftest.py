"""Comparisons made by hand: the figures are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import debiasrec
from debiasrec.evaluation.comparison import FIT_COLUMNS, RESULT_COLUMNS

BIASED = {"uauc": 0.66, "auc": 0.75, "ndcg@5": 0.83, "recall@5": 0.7, "map@5": 0.6, "mse": 0.55, "mae": 0.6}
TESTS = {
    "biased": BIASED,
    "debiased": {metric: value - 0.05 for metric, value in BIASED.items()},
    "both": {"f1_uauc": 0.64, "f1_ndcg@5": 0.8},
    "truth": {"uauc": 0.7, "ndcg@5": 0.6, "rmse": 0.5},
}
SHIFTS = {"mf": 0.0, "mf_uniform": -0.1, "mf_combine": 0.01, "ips": 0.02, "snips": -0.02, "dr": 0.03}


@pytest.fixture(scope="session")
def simulated_split():
    return debiasrec.load("simulated", n_users=60, n_items=40, density=0.2).split("interd")


@pytest.fixture
def make_comparison(simulated_split):
    """Six methods whose every figure is a shift of the one of mf, plus noise by seed."""

    def make(seeds=3, shifts=SHIFTS, tests=TESTS):
        rng = np.random.default_rng(0)
        figures = [
            (method, seed, test, metric, value + shift + rng.normal(scale=0.004))
            for seed in range(seeds)
            for method, shift in shifts.items()
            for test, values in tests.items()
            for metric, value in values.items()
        ]
        fits = [
            (method, seed, 0.7 + shift, 5, "patience", 1.5) for seed in range(seeds) for method, shift in shifts.items()
        ]
        dropped = {
            "biased": {"users": 50, "no_positive": 10, "no_negative": 4, "both_classes": 36},
            "debiased": {"users": 60, "no_positive": 5, "no_negative": 0, "both_classes": 55},
        }
        return debiasrec.Comparison(
            simulated_split,
            list(range(seeds)),
            {method: {"lr": 0.01, "factors": 10} for method in shifts},
            {method: method for method in shifts},
            pd.DataFrame(figures, columns=RESULT_COLUMNS),
            pd.DataFrame(fits, columns=FIT_COLUMNS),
            dropped,
            "both",
        )

    return make
