"""An experiment for people: a table per metric, ours beside what is published, in 80 columns."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..report.guide import diverged_text
from ..report.plot import metric_label
from ..report.tables import p_text, short
from .runner import Outcome

LEGEND = (
    "ours: mean±sd over model seeds on one split. paper, program: printed by the paper, and by its public program on "
    "the same files. diff, p: ours against the named row, paired t-test over seeds."
)
FIGURES = (("ours", "mean", "sd"), ("paper", "paper", "paper_sd"), ("program", "program", "program_sd"))


def outcome_view(outcome: Outcome) -> RenderableType:
    """All tables of an experiment and how to read them.

    Args:
        outcome: what ``run`` returned.

    Returns:
        Something for ``rich.console.Console.print``.
    """
    experiment, table = outcome.experiment, outcome.table
    views: list[RenderableType] = [Text(f"{experiment.title} ({experiment.source}), {outcome.dataset}", style="bold")]
    for (test, metric), cells in table.groupby(["test", "metric"], sort=False):
        views += [Text(f"{metric_label(metric)}, {test}", style="bold"), _metric_table(cells), Text("")]
    views.append(Text("\n".join([LEGEND, *diverged_text(outcome.diverged)])))
    return Group(*views)


def _metric_table(cells: pd.DataFrame) -> Table:
    """Columns without a single figure are left out."""
    columns = {"row": cells["method"].tolist(), "part": cells["part"].tolist()}
    for heading, mean, sd in FIGURES:
        columns[heading] = [with_spread(*pair) for pair in zip(cells[mean], cells[sd], strict=True)]
    tested = cells["against"].ne("")
    columns["diff"] = [_signed(*pair) for pair in zip(cells["difference"], cells["mean"], strict=True)]
    columns["p"] = cells["p_value"].map(p_text).where(tested, "").tolist()
    columns["against"] = cells["against"].tolist()
    columns = {heading: column for heading, column in columns.items() if any(column)}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for heading in columns:
        words = heading in ("row", "part", "against")
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*line)
    return table


def with_spread(mean: float, sd: float) -> str:
    """``.7560±.0065``: four decimals, or three digits where those would hide the mean; nothing without a figure."""
    if pd.isna(mean):
        return ""
    return "±".join(_digits(value, mean) for value in (mean, sd) if not pd.isna(value))


def _signed(difference: float, mean: float) -> str:
    return "" if pd.isna(difference) else f"{'+' if difference >= 0 else '-'}{_digits(abs(difference), mean)}"


def _digits(value: float, mean: float) -> str:
    return short(value) if mean == 0 or 1e-3 <= abs(mean) < 100 else f"{value:.3g}"
