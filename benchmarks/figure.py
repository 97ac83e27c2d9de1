"""The picture: how many times slower each alternative is than ours."""

from __future__ import annotations

import io
from collections.abc import Sequence

from .results import Result
from .table import times_ours

WON, LOST = "#4477aa", "#cc3311"


def ratios_png(results: Sequence[Result], caption: str) -> bytes | None:
    """Horizontal bars on a logarithmic scale from 1, those where ours is slower to the left; a tick at each must.

    Args:
        results: one size per benchmark.
        caption: under the title.

    Returns:
        A PNG, or None where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    rows = [row for row in results if not row.ours]
    figure = Figure(figsize=(8.5, 1.4 + 0.28 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(rows))
    colours = [WON if row.ratio >= 1 else LOST for row in rows]
    axes.barh(places, [row.ratio - 1 for row in rows], left=1, color=colours, height=0.7)
    musts = [(place, row.must) for place, row in zip(places, rows, strict=True) if row.must is not None]
    if musts:
        at, must = zip(*musts, strict=True)
        axes.scatter(must, at, marker="|", s=160, color="black", label="must", zorder=3)
        axes.legend(loc="lower right", fontsize="small")
    for place, row in zip(places, rows, strict=True):
        end = (max(row.ratio, 1), place)
        axes.annotate(times_ours(row.ratio), end, (4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, [f"{row.name}: {row.alternative}" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("median time over that of debias_ext, same run (left of 1: faster than debias_ext)")
    axes.set_title(caption, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
