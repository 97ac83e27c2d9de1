"""The picture of an experiment."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd

from .experiment import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


def figure_png(drawn: pd.DataFrame, figure: Figure) -> bytes | None:
    """Panels with a line per series, bars of one standard deviation over seeds.

    Args:
        drawn: panel, series, x, mean, sd.
        figure: how the axis is called and scaled.

    Returns:
        A PNG, or None where matplotlib is missing or there is nothing to draw.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        return None
    panels = list(drawn["panel"].unique())
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    canvas = Canvas(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(rows, columns, squeeze=False).ravel()
    for panel, own in zip(panels, axes, strict=False):
        _draw(own, drawn[drawn["panel"] == panel], figure)
        own.set_title(panel, fontsize=10)
    for unused in axes[len(panels) :]:
        unused.set_axis_off()
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw(axes: Axes, points: pd.DataFrame, figure: Figure) -> None:
    for series, own in points.groupby("series", sort=False):
        axes.errorbar(own["x"], own["mean"], yerr=own["sd"].fillna(0.0), marker=".", capsize=2, label=series)
    if figure.log_x:
        # symmetric: coefficients may be 0 or negative
        axes.set_xscale("symlog", linthresh=float(points["x"].abs()[points["x"] != 0].min()))
    axes.set_xlabel(figure.x_label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
