"""What an experiment is: rows, columns, where they come from, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..data import Split
from ..evaluation.compare import Measure, Watch

Place = tuple[str, str, float]  # panel, series, x


@dataclass(frozen=True)
class Arm:
    """One row: a method, and settings over its preset.

    Args:
        method: its registered name.
        options: hyper-parameters over those of the preset.
        series: the curve that the row belongs to in a sweep.
        x: its place on that curve.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    series: str = ""
    x: float = float("nan")


@dataclass(frozen=True)
class Figure:
    """A picture of results: panels with a curve per series.

    Args:
        place: an arm and one of its results (part, method, seed, test, metric, value) to its panel, its series and its
            place x in it; None for what is not drawn.
        x_label: what the horizontal axis is.
        log_x: whether it is logarithmic.
    """

    place: Callable[[Arm, pd.Series], Place | None]
    x_label: str
    log_x: bool = False


@dataclass(frozen=True)
class Experiment:
    """A table or a figure of a paper, as data.

    Args:
        name: how the command line calls it.
        title: one line.
        source: the paper and the place in it.
        split: the protocol of ``debiasrec.data.SPLITS``.
        metrics: (test, metric) of each column.
        arms: the rows by label.
        against: row to the row that it is tested against over the seeds; rows left out are not tested.
        ks: list lengths of the ranking metrics.
        parts: variants of the split by name, where every row runs on several; else the split itself, without a name.
        measure: further figures of a fitted method on a split, by (test, metric).
        watch: figures after an epoch, of the method as it stands, the split and the ``ProgressEvent``.
        figure: what is drawn.
    """

    name: str
    title: str
    source: str
    split: str
    metrics: tuple[tuple[str, str], ...]
    arms: Mapping[str, Arm]
    against: Mapping[str, str] = field(default_factory=dict)
    ks: tuple[int, ...] = (5,)
    parts: Callable[[Split], Mapping[str, Split]] | None = None
    measure: Measure | None = None
    watch: Watch | None = None
    figure: Figure | None = None

    def methods(self) -> dict[str, dict[str, Any]]:
        """The methods of the rows, each with the settings that all of its rows have in common."""
        common: dict[str, dict[str, Any]] = {}
        for arm in self.arms.values():
            known = common.setdefault(arm.method, dict(arm.options))
            common[arm.method] = {key: value for key, value in known.items() if (key, value) in arm.options.items()}
        return common


def rows(*methods: str) -> dict[str, Arm]:
    """An arm per method, with the settings of its preset."""
    return {method: Arm(method) for method in methods}


def sweep(method: str, option: str, values: tuple[float, ...], **fixed: Any) -> dict[str, Arm]:
    """An arm per value of an option, other options fixed; the option is the curve, its values the places on it."""
    label = f"{method} {option}"
    return {f"{label}={value:g}": Arm(method, {**fixed, option: value}, series=label, x=value) for value in values}


def others(arms: Mapping[str, Arm], own: str) -> dict[str, str]:
    """Every row but ``own`` tested against ``own``."""
    return {arm: own for arm in arms if arm != own}
