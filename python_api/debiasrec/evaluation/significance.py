"""Paired comparison of two methods over the same seeds."""

from __future__ import annotations

import numpy as np
from scipy import stats


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
