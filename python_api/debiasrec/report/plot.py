"""The picture of a comparison: the biased test against the debiased one."""

from __future__ import annotations

import io

import pandas as pd


def comparison_png(summary: pd.DataFrame) -> bytes | None:
    """Scatter of every method's mean on the biased (x) and the debiased test (y), bars of one standard deviation.

    Args:
        summary: ``Comparison.summary``.

    Returns:
        A PNG, or None where matplotlib is missing or one of the tests is.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    metrics = [metric for metric in summary["metric"].unique() if metric == "uauc" or metric.startswith("ndcg@")]
    panels = {metric: points for metric in metrics if len(points := _points(summary, metric))}
    if not panels:
        return None
    figure = Figure(figsize=(4.6 * len(panels) + 1.8, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (metric, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for method, point in points.iterrows():
            bars = {"xerr": point["sd", "biased"], "yerr": point["sd", "debiased"]}
            axes.errorbar(point["mean", "biased"], point["mean", "debiased"], fmt="o", capsize=2, label=method, **bars)
        axes.set(xlabel=f"{metric_label(metric)}, biased test", ylabel=f"{metric_label(metric)}, debiased test")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="mean, sd over seeds")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def metric_label(metric: str) -> str:
    """How a metric is written in tables and figures: ``ndcg@5`` is NDCG@5, ``recall@5`` Recall@5."""
    name = metric.removeprefix("f1_")
    label = name.capitalize() if name.startswith("recall") else name.upper()
    return f"F1 {label}" if metric.startswith("f1_") else label


def _points(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = summary[(summary["metric"] == metric) & summary["test"].isin(["biased", "debiased"])]
    table = rows.pivot(index="method", columns="test", values=["mean", "sd"]).reindex(rows["method"].unique())
    if ("mean", "biased") not in table or ("mean", "debiased") not in table:
        return table.iloc[:0]
    return table[table["mean"].notna().all(axis=1)].fillna({("sd", test): 0.0 for test in ("biased", "debiased")})
