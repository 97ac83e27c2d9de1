"""Runs an experiment: its rows on its split, what is missing only, into a folder of tables and a figure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .. import methods as zoo
from ..data import Dataset, Split
from ..errors import DebiasRecError
from ..evaluation import compare
from ..naming import unknown_name
from ..report.atomic import write_atomically
from .experiment import Arm, Experiment
from .figure import figure_png
from .table import curves, tabulate


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Attributes:
        experiment: what was run.
        dataset: name of the data set.
        results: part, method, seed, test, metric, value; also those of earlier runs in the same folder.
        table: see ``tabulate``.
        diverged: row to the number of its fits that diverged and have no figures.
    """

    experiment: Experiment
    dataset: str
    results: pd.DataFrame
    table: pd.DataFrame
    diverged: dict[str, int]


def run(
    experiment: Experiment,
    data: Dataset,
    out: str | Path,
    *,
    seeds: int | Iterable[int] = 5,
    split_seed: int = 0,
    methods: Sequence[str] | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> Outcome:
    """Run an experiment by its paper's protocol; a row and seed whose results stand in ``out`` are not run again.

    Args:
        experiment: one of ``debiasrec.experiments.EXPERIMENTS``.
        data: the data set.
        out: folder for results.csv, summary.csv and run.json of the comparison (a folder per part where the experiment
            has several), table.csv, experiment.json, and curves.csv and figure.png where it draws something.
        seeds: how many model seeds (0 .. seeds-1), or which.
        split_seed: of the split.
        methods: rows or methods to run; all of them when left out.
        device: where to train.
        progress: show bars on a terminal, one line per fit elsewhere (both on stderr).

    Returns:
        Results and table.

    Raises:
        DebiasRecError: an unknown row or method, or results in ``out`` of other data or settings.
        ComparisonInterrupted: Ctrl-C; the fits that were done are in ``out``.
    """
    arms = _chosen(experiment, methods)
    split = data.split(experiment.split, seed=split_seed)
    made = {label: _make(arm, split) for label, arm in arms.items()}
    folder = Path(out)
    settings: dict[str, Any] = {"ks": experiment.ks, "measure": experiment.measure, "watch": experiment.watch}
    settings |= {"device": device, "progress": progress, "resume": True}
    kept = []
    diverged: Counter[str] = Counter()
    for part, own in ({"": split} if experiment.parts is None else experiment.parts(split)).items():
        comparison = compare(own, made, seeds, out=folder / part, **settings)
        kept.append(comparison.results.assign(part=part))
        diverged.update(comparison.diverged)
    results = pd.concat(kept, ignore_index=True)
    outcome = Outcome(experiment, data.name, results, tabulate(results, experiment, data.name), dict(diverged))
    _save(outcome, folder)
    return outcome


def _chosen(experiment: Experiment, methods: Sequence[str] | None) -> dict[str, Arm]:
    if methods is None:
        return dict(experiment.arms)
    known = {*experiment.arms, *(arm.method for arm in experiment.arms.values())}
    for name in methods:
        if name not in known:
            raise DebiasRecError(unknown_name(f"row of {experiment.name}", name, known))
    return {label: arm for label, arm in experiment.arms.items() if {label, arm.method} & set(methods)}


def _make(arm: Arm, split: Split) -> zoo.Method:
    return zoo.make(arm.method, **{**zoo.preset(arm.method, split.dataset.name, split.name), **arm.options})


def _save(outcome: Outcome, folder: Path) -> None:
    experiment = outcome.experiment
    record = {
        "experiment": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "data": outcome.dataset,
    }
    write_atomically(folder / "experiment.json", json.dumps(record, indent=2) + "\n")
    write_atomically(folder / "table.csv", outcome.table.to_csv(index=False))
    if experiment.figure is not None:
        drawn = curves(outcome.results, experiment)
        write_atomically(folder / "curves.csv", drawn.to_csv(index=False))
        picture = figure_png(drawn, experiment.figure)
        if picture is not None:
            write_atomically(folder / "figure.png", picture)
