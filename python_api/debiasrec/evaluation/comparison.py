"""What a comparison of methods over several seeds holds, and its summary."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from ..data import Split
from .significance import paired_summary

RESULT_COLUMNS = ["method", "seed", "test", "metric", "value"]
FIT_COLUMNS = ["method", "seed", "validation_auc", "best_epoch", "stopped_by", "seconds"]
DIVERGED = "diverged"  # what stopped a fit that has no figures
# What is not corrected: matrix factorisation by what it trains on, rankings of clicks, click models.
BASELINES = ("mf", "mf_uniform", "mf_combine", "bpr", "din", "deepfm")


@dataclass
class Comparison:
    """Per-seed results of several methods on one split.

    Attributes:
        split: where the tests come from.
        seeds: the model seeds asked for.
        configs: method to its hyper-parameters, the seed left out.
        families: method to the registry name of its class; the uncorrected ones are the baselines.
        results: method, seed, test, metric, value; one row per figure.
        fits: method, seed, validation_auc, best_epoch, stopped_by, seconds; one row per fit. One that was stopped by
            "diverged" has no figures.
        dropped: users per test and how many lack a class.
        ranking_users: ``"defined"`` or ``"both"``: whom the @k metrics average over.
        device: where the models were trained.
        ks: list lengths of the ranking metrics.
    """

    split: Split
    seeds: list[int]
    configs: dict[str, dict[str, Any]]
    families: dict[str, str]
    results: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=RESULT_COLUMNS))
    fits: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FIT_COLUMNS))
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    ranking_users: str = "defined"
    device: str = "cpu"
    ks: tuple[int, ...] = (5,)

    def __post_init__(self) -> None:
        # What is taken over from a folder later adds methods and seeds that nobody asked for.
        self._asked = set(product(self.configs, self.seeds))

    @property
    def complete(self) -> bool:
        """Whether every method asked for was fitted with every seed asked for."""
        return self._asked <= set(zip(self.fits["method"], self.fits["seed"], strict=True))

    @property
    def diverged(self) -> dict[str, int]:
        """Method to the number of its fits that diverged, where there are any."""
        return dict(Counter(self.fits.loc[self.fits["stopped_by"] == DIVERGED, "method"]))

    @property
    def baseline(self) -> str | None:
        """The uncorrected method with the best mean validation AUC; None when no such method was fitted.

        The tests play no part in the choice.
        """
        fits = self.fits[self.fits["method"].map(self.families).isin(BASELINES)]
        if fits.empty:
            return None
        means = fits.groupby("method", sort=False)["validation_auc"].mean()
        return str(means.index[0] if means.isna().all() else means.idxmax())

    @property
    def summary(self) -> pd.DataFrame:
        """method, test, metric, mean, sd (ddof=1), n, baseline, difference, p_value: one row per cell of the table.

        ``difference`` and ``p_value`` compare with the baseline over the seeds both have; blank for the baseline.
        """
        return summarise(self.results, self.baseline)

    def save(self, directory: str | Path) -> list[Path]:
        """Write results.csv, summary.csv, run.json, and comparison.png where matplotlib is installed.

        Args:
            directory: made when missing; files of the same names are replaced, each in one step.

        Returns:
            The files written.
        """
        from ..report.files import save_comparison

        return save_comparison(self, directory)

    def __str__(self) -> str:
        from ..report.tables import comparison_text

        return comparison_text(self)


def summarise(results: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """Mean, standard deviation and the paired comparison with the baseline of every figure.

    Args:
        results: method, seed, test, metric, value.
        baseline: the method to compare with, or None.

    Returns:
        See ``Comparison.summary``; rows in the order the results came in.
    """
    records = []
    keys = ["method", "test", "metric"]
    cells = {key: rows.set_index("seed")["value"].astype(float) for key, rows in results.groupby(keys, sort=False)}
    for (method, test, metric), values in cells.items():
        other = None if method == baseline else cells.get((baseline, test, metric))
        mean, sd, n, difference, p_value = paired_summary(values, other)
        records.append((method, test, metric, mean, sd, n, baseline, difference, p_value))
    columns = [*keys, "mean", "sd", "n", "baseline", "difference", "p_value"]
    return pd.DataFrame(records, columns=columns)


def config_hash(config: dict[str, Any]) -> str:
    """sha256 of a method's hyper-parameters, whatever their order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()
