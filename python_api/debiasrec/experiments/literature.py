"""The figures that the papers print, and those that their public programs print on the same files."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

KINDS = ("paper", "program")
KEYS = ["method", "test", "metric"]


@cache
def published() -> pd.DataFrame:
    """experiment, kind ("paper", "program"), dataset, method, test, metric, value, sd, origin: a row per figure.

    ``method`` is the row of the experiment, ``origin`` the table of the paper or the program that was run.
    """
    file = resources.files(__package__) / "published.csv"
    with file.open(encoding="utf-8") as text:
        return pd.read_csv(text)


def beside(table: pd.DataFrame, experiment: str, dataset: str) -> pd.DataFrame:
    """The table with columns paper, paper_sd, program, program_sd; NaN where nothing is published.

    Args:
        table: one row per method, test and metric.
        experiment: name of the experiment.
        dataset: name of the data set.
    """
    known = published().query("experiment == @experiment and dataset == @dataset")
    for kind in KINDS:
        own = known[known["kind"] == kind].rename(columns={"value": kind, "sd": f"{kind}_sd"})
        table = table.merge(own[[*KEYS, kind, f"{kind}_sd"]], on=KEYS, how="left")
    return table
