"""The results of an experiment in its rows and columns, beside the published figures."""

from __future__ import annotations

import pandas as pd

from ..evaluation.significance import paired_summary
from .experiment import Experiment
from .literature import beside

CELL = ["part", "method", "test", "metric"]
COLUMNS = [*CELL, "mean", "sd", "n", "against", "difference", "p_value"]


def tabulate(results: pd.DataFrame, experiment: Experiment, dataset: str) -> pd.DataFrame:
    """Mean, sd and the paired test of every cell, beside the published figures.

    Args:
        results: part, method, seed, test, metric, value.
        experiment: its rows, its columns, and what is tested against what.
        dataset: name of the data set.

    Returns:
        part, method, test, metric, mean, sd (ddof=1), n, against, difference, p_value, paper, paper_sd, program,
        program_sd; columns in the order of the experiment, then parts, then rows. ``difference`` is the row less the
        row ``against``, over the seeds both have.
    """
    values = {cell: own.set_index("seed")["value"].astype(float) for cell, own in results.groupby(CELL, sort=False)}
    cells = [
        (part, arm, test, metric)
        for test, metric in experiment.metrics
        for part in results["part"].unique()
        for arm in experiment.arms
        if (part, arm, test, metric) in values
    ]
    records = []
    for part, arm, test, metric in cells:
        own, against = values[part, arm, test, metric], experiment.against.get(arm, "")
        other = values.get((part, against, test, metric))
        mean, sd, n, difference, p_value = paired_summary(own, other)
        named = "" if other is None else against
        records.append((part, arm, test, metric, mean, sd, n, named, difference, p_value))
    return beside(pd.DataFrame(records, columns=COLUMNS), experiment.name, dataset)


def curves(results: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """What the figure of an experiment shows.

    Args:
        results: part, method, seed, test, metric, value.
        experiment: one with a figure.

    Returns:
        panel, series, x, mean, sd (ddof=1) over seeds; sorted by x within a series.
    """
    assert experiment.figure is not None, f"{experiment.name} draws nothing"
    placed = []
    for cell, own in results.groupby(CELL, sort=False):
        arm = experiment.arms.get(cell[1])
        place = None if arm is None else experiment.figure.place(arm, own.iloc[0])
        if place is not None:
            placed.append((*place, own["value"].mean(), own["value"].std(ddof=1)))
    frame = pd.DataFrame(placed, columns=["panel", "series", "x", "mean", "sd"])
    order = frame.groupby(["panel", "series"], sort=False).ngroup()
    return frame.assign(order=order).sort_values(["order", "x"], kind="stable").drop(columns="order")
