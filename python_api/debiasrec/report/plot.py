"""The picture of a comparison."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TESTS = ("biased", "debiased")
ABBREVIATIONS = ("auc", "uauc", "ndcg", "dcg", "map", "mse", "mae", "rmse", "sv", "mis")


def comparison_png(summary: pd.DataFrame) -> bytes | None:
    """Every method's mean UAUC and NDCG or DCG, bars of one standard deviation.

    With both tests: the biased one on x, the debiased one on y. With one of them: a line per method.

    Args:
        summary: ``Comparison.summary``.

    Returns:
        A PNG, or None where matplotlib is missing or there is nothing to draw.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    shown = summary[summary["test"].isin(TESTS) & summary["mean"].notna()]
    metrics = [
        metric for metric in shown["metric"].unique() if metric == "uauc" or metric.startswith(("ndcg@", "dcg@"))
    ]
    if not metrics:
        return None
    figure = Figure(figsize=(4.6 * len(metrics) + 1.8, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _draw(axes, shown[shown["metric"] == metric], metric_label(metric))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="mean, sd over seeds")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def metric_label(metric: str) -> str:
    """How a metric is written in tables and figures: ``ndcg@5`` is NDCG@5, ``recall@5`` Recall@5."""
    name = metric.removeprefix("f1_")
    measured, at, k = name.partition("@")
    first, *rest = measured.split("_")
    label = " ".join([first.upper() if first in ABBREVIATIONS else first.capitalize(), *rest]) + at + k
    return f"F1 {label}" if metric.startswith("f1_") else label


def _draw(axes: Axes, rows: pd.DataFrame, label: str) -> None:
    tests = [test for test in TESTS if test in set(rows["test"])]
    for place, (method, own) in enumerate(rows.groupby("method", sort=False)):
        means, spreads = (own.set_index("test")[name].reindex(tests).fillna(0.0) for name in ("mean", "sd"))
        vertical = {"y": means.iloc[1], "yerr": spreads.iloc[1]} if len(tests) == 2 else {"y": -place}
        axes.errorbar(x=means.iloc[0], xerr=spreads.iloc[0], fmt="o", capsize=2, label=method, **vertical)
    axes.set_xlabel(f"{label}, {tests[0]} test")
    axes.grid(alpha=0.3)
    if len(tests) == 2:
        axes.set_ylabel(f"{label}, {tests[1]} test")
    else:
        axes.set_yticks([])
