"""Tables for people: a comparison, or one evaluation, in 80 columns."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..evaluation.metrics import higher_is_better
from .guide import BEST, WORSE, dropped_text, legend, notes, reading_guide
from .plot import metric_label

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison

MAIN = ("uauc", "auc", "ndcg")  # a table each; the other metrics share one per test
TEST_TITLES = {
    "biased": "biased test",
    "debiased": "debiased test",
    "both": "F1 of both",
    "snips": "SNIPS estimate",
    "ips": "IPS estimate",
    "truth": "known truth",
}
DIFFERENCES = ["diff", "p"]
COLUMNS = 4  # that many figures with their spread fit into 80 columns


def comparison_view(comparison: Comparison) -> RenderableType:
    """All tables of a comparison and how to read them.

    Args:
        comparison: complete or not.

    Returns:
        Something for ``rich.console.Console.print``.
    """
    data, split = comparison.split.dataset, comparison.split
    head = f"{data.name}, split {split.name} (seed {split.seed}), {len(comparison.seeds)} model seed(s)"
    if not comparison.complete:
        head += f": INCOMPLETE, {len(comparison.fits)} of {len(comparison.seeds) * len(comparison.configs)} fits done"
    return Group(
        Text(head, style="bold"),
        summary_view(comparison.summary, comparison.baseline),
        Text(reading_guide(comparison)),
    )


def summary_view(summary: pd.DataFrame, baseline: str | None = None) -> RenderableType:
    """The tables of a summary: one per main metric with every test side by side, then the other metrics per test.

    Args:
        summary: ``Comparison.summary``, or one in its form.
        baseline: the method that the others are compared with, or None.

    Returns:
        Something for ``rich.console.Console.print``.
    """
    shown = summary[summary["mean"].notna()]
    base = shown["metric"].str.removeprefix("f1_")
    main = base.str.partition("@")[0].isin(MAIN)
    tables: list[RenderableType] = []
    for metric in base[main].unique():
        tables += [_metric_table(metric, shown[base == metric], baseline), Text("")]
    for test in shown.loc[~main, "test"].unique():
        rows = shown[~main & (shown["test"] == test)]
        metrics = list(rows["metric"].unique())
        for start in range(0, len(metrics), COLUMNS):
            part = rows[rows["metric"].isin(metrics[start : start + COLUMNS])]
            tables += [_rest_table(test, part, baseline), Text("")]
    return Group(*tables)


def evaluation_view(table: pd.DataFrame) -> RenderableType:
    """The result of ``evaluate`` and how to read it.

    Args:
        table: what ``debiasrec.evaluate`` returned.

    Returns:
        Something for ``rich.console.Console.print``.
    """
    long = table.stack(["test", "metric"], future_stack=True).rename("mean").reset_index()
    summary = long.assign(sd=float("nan"), difference=float("nan"), p_value=float("nan"))
    lines = [legend(None, several=False), dropped_text(table.attrs["dropped"], table.attrs["ranking_users"])]
    return Group(summary_view(summary), Text("\n".join(lines + notes(set(summary["test"])))))


def comparison_text(comparison: Comparison, width: int = 80) -> str:
    """The comparison as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(comparison_view(comparison))
    return console.file.getvalue()  # type: ignore[attr-defined]


def _metric_table(metric: str, rows: pd.DataFrame, baseline: str | None) -> Table:
    tests = [test for test in TEST_TITLES if test in set(rows["test"])]
    compared = baseline is not None and "debiased" in tests and rows["difference"].notna().any()
    headers = [TEST_TITLES[test] for test in tests] + (DIFFERENCES if compared else [])
    table = _new_table(metric_label(metric), headers)
    cells = {test: _cells(rows[rows["test"] == test], baseline) for test in tests}
    debiased = rows[rows["test"] == "debiased"].set_index("method")
    for method in rows["method"].unique():
        line = [cells[test].get(method, Text("")) for test in tests]
        table.add_row(method, *line, *(_difference_cells(debiased, method) if compared else []))
    return table


def _rest_table(test: str, rows: pd.DataFrame, baseline: str | None) -> Table:
    metrics = list(rows["metric"].unique())
    table = _new_table(TEST_TITLES.get(test, test), [metric_label(metric) for metric in metrics])
    cells = [_cells(rows[rows["metric"] == metric], baseline) for metric in metrics]
    for method in rows["method"].unique():
        table.add_row(method, *(column.get(method, Text("")) for column in cells))
    return table


def _new_table(title: str, headers: list[str]) -> Table:
    gap = 1 if len(headers) <= 5 else 0  # six columns with their spread just fit into 80
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap, 0, 0),
    )
    table.add_column("method", overflow="fold")
    for header in headers:
        table.add_column(header, justify="right")
    return table


def _cells(rows: pd.DataFrame, baseline: str | None) -> dict[str, Text]:
    """A cell per method: bold and starred for the best, an arrow for worse than the baseline."""
    means = rows.set_index("method")["mean"]
    sign = 1 if higher_is_better(str(rows["metric"].iloc[0])) else -1
    best = short((sign * means).max()) if len(means) > 1 else None  # as printed: equal figures share the star
    floor = sign * means[baseline] if baseline in means.index else float("-inf")
    cells = {}
    for method, mean, sd in zip(rows["method"], rows["mean"], rows["sd"], strict=True):
        mark, style = (
            (BEST, "bold green") if short(sign * mean) == best else (WORSE, "red") if sign * mean < floor else (" ", "")
        )
        spread = "" if pd.isna(sd) else f"±{short(sd)}"
        cells[method] = Text(f"{short(mean)}{spread}{mark}", style=style, no_wrap=True)
    return cells


def _difference_cells(debiased: pd.DataFrame, method: str) -> list[Text]:
    if method not in debiased.index or pd.isna(debiased.loc[method, "difference"]):
        return [Text(""), Text("")]
    difference, p_value = debiased.loc[method, "difference"], debiased.loc[method, "p_value"]
    style = "bold" if p_value < 0.05 else ""
    return [Text(f"{'+' if difference >= 0 else '-'}{short(abs(difference))}", style), Text(p_text(p_value), style)]


def p_text(p_value: float) -> str:
    """A p-value in three digits."""
    return "-" if pd.isna(p_value) else "<.001" if p_value < 0.001 else short(p_value, 3)


def short(value: float, digits: int = 4) -> str:
    """A figure without its leading zero: .7560, 1.0000."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
