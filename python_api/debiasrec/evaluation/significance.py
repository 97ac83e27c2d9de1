"""Paired comparison of two methods over the same seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats


def paired_summary(values: pd.Series, baseline: pd.Series | None) -> tuple[float, float, int, float, float]:
    """Mean, standard deviation (ddof=1) and number of values, and their paired comparison with a baseline.

    Args:
        values: float, by seed.
        baseline: float, by seed; only seeds that both have are compared. None compares nothing.

    Returns:
        (mean, sd, n, difference, p), the last two as in `paired_t_test`; NaN where there is nothing to tell.
    """
    difference = p_value = float("nan")
    if baseline is not None:
        pairs = pd.concat([values, baseline], axis=1, join="inner").to_numpy()
        difference, p_value = paired_t_test(pairs[:, 0], pairs[:, 1])
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(values.mean()), sd, int(values.count()), difference, p_value


def paired_t_test(values: np.ndarray, baseline: np.ndarray) -> tuple[float, float]:
    """Mean paired difference and the two-sided p-value of the paired t-test.

    Args:
        values: float [n], one per seed.
        baseline: float [n], the same seeds.

    Returns:
        (mean of values - baseline, p). p is NaN with fewer than two pairs or when all differences are the same
        number other than 0 (no variance to test against), and 1 when all are 0.

    Source:
        InterD section 4.1: paired t-test against the best baseline.
    """
    difference = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    mean = float(difference.mean()) if len(difference) else float("nan")
    if len(difference) < 2 or not np.isfinite(difference).all():
        return mean, float("nan")
    if np.ptp(difference) == 0:
        return mean, 1.0 if mean == 0 else float("nan")
    return mean, float(stats.ttest_rel(values, baseline).pvalue)
