"""The report on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .harness import NOISY
from .results import Result, largest

COLUMNS = {"p20": 8, "p50": 8, "p80": 8, "ratio": 8, "must": 5, "aim": 4, "": 7, "of copy": 7}  # and their widths
STYLES = {"MISSED": "bold red", "met": "green", "aim met": "bold green"}


def report(results: Sequence[Result], notes: Sequence[str], *, full_size: bool) -> RenderableType:
    """Timings, growth, and how to read them.

    Args:
        results: of all sizes; the timings table shows the largest of each benchmark.
        notes: sentences to add at the end.
        full_size: goals are set for the full sizes, so that smaller runs give no verdict.
    """
    main = largest(results)
    guide = [
        "ratio: its median over ours in the same run, so below 1 it is FASTER than ours. of copy: the least bytes the "
        "work has to move per second of the median, as a share of a plain copy's. ~: noisy, "
        f"p80 > {NOISY} p20.",
        *(f"{row.name}: {memory(row)}." for row in main if row.peak_bytes is not None),
        *notes,
    ]
    return Group(_timings(main, full_size), _growth(results), Text("\n".join(guide)))


def _timings(results: Sequence[Result], full_size: bool) -> RenderableType:
    tables = []
    for name, group in groupby(results, key=lambda result: result.name):
        rows = list(group)
        table = _table(f"{name}, {rows[0].size:,} rows: {rows[0].work}", show_header=not tables)
        table.add_column("milliseconds", width=24, no_wrap=True)
        for header, width in COLUMNS.items():
            table.add_column(header, justify="right", width=width, no_wrap=True)
        for row in rows:
            table.add_row(*_cells(row, full_size))
        tables.append(table)
    return Group(*tables)


def _cells(row: Result, full_size: bool) -> list[Text]:
    times = [Text(f"{1e3 * value:.3f}") for value in (row.p20, row.p50, row.p80)]
    verdict = row.verdict if full_size else ""
    slower = not row.ours and row.ratio < 1
    ratio = Text("" if row.ours else times_ours(row.ratio), style="bold red" if slower else "bold")
    if slower and not verdict:
        verdict = "FASTER"
    must, aim = ("" if goal is None else f"{goal:g}x" for goal in (row.must, row.aim))
    return [
        Text(f"{row.alternative}{' ~' if row.timing.noisy else ''}", style="bold" if row.ours else ""),
        *times,
        ratio,
        Text(must),
        Text(aim),
        Text(verdict, style=STYLES.get(verdict, "bold red")),
        Text(f"{row.bytes_per_s / row.copy_bytes_per_s:.0%}"),
    ]


def memory(row: Result) -> str:
    """How much a call took beside its inputs, and may take."""
    assert row.peak_bytes is not None
    assert row.most_bytes is not None
    return f"{row.peak_bytes / 1e6:.3g} MB beside the inputs (at most {row.most_bytes / 1e6:.3g} MB)"


def times_ours(ratio: float) -> str:
    """Three digits, and no exponent."""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _growth(results: Sequence[Result]) -> Table:
    title = "Growth: our microseconds for the fewest rows, and nanoseconds per row at four doubling sizes"
    table = _table(title, show_header=True)
    table.add_column("", no_wrap=True)
    for header in ("us a call", "1/8", "1/4", "1/2", "full", "full over 1/8"):
        table.add_column(header, justify="right")
    ours = [result for result in results if result.ours]
    for name, group in groupby(ours, key=lambda result: result.name):
        call, *growing = sorted(group, key=lambda row: row.size)
        cost = [1e9 * row.p50 / row.size for row in growing]
        shown = [1e6 * call.p50, *cost]
        table.add_row(name, *(f"{value:.3g}" for value in shown), f"{cost[-1] / cost[0]:.2f}" if cost else "")
    return table


def _table(title: str, *, show_header: bool) -> Table:
    style = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    return Table(title=title, show_header=show_header, **style)
