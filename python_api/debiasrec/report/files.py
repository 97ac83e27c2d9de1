"""The files of a comparison: results.csv, summary.csv, run.json, comparison.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..evaluation.comparison import RESULT_COLUMNS, config_hash
from .atomic import write_atomically
from .plot import comparison_png
from .provenance import environment

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison


def save_comparison(comparison: Comparison, directory: str | Path) -> list[Path]:
    """Write the files of a comparison, each under a temporary name that is then renamed.

    Args:
        comparison: complete or not.
        directory: made when missing.

    Returns:
        The files written; no picture where matplotlib is missing or nothing can be drawn.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        write_atomically(folder / "results.csv", _csv(comparison.results)),
        write_atomically(folder / "summary.csv", _csv(comparison.summary)),
        write_atomically(folder / "run.json", json.dumps(run_record(comparison), indent=2) + "\n"),
    ]
    picture = comparison_png(comparison.summary) if comparison.complete else None
    if picture is not None:
        files.append(write_atomically(folder / "comparison.png", picture))
    return files


def read_results(path: str | Path) -> pd.DataFrame:
    """The per-seed results written by ``save_comparison``, to the last bit.

    Args:
        path: results.csv, or the folder that holds it.

    Returns:
        method, seed, test, metric, value.
    """
    file = Path(path)
    file = file / "results.csv" if file.is_dir() else file
    # pandas' own parser of numbers may be off by one in the last place, Python's is not
    return pd.read_csv(file, dtype={"value": str})[RESULT_COLUMNS].astype({"value": float})


def run_record(comparison: Comparison) -> dict[str, Any]:
    """Everything needed to run the comparison again, and how long it took.

    Args:
        comparison: complete or not.

    Returns:
        What run.json holds.
    """
    return {
        "environment": environment(comparison.device),
        **split_record(comparison.split),
        "ks": list(comparison.ks),
        "seeds": comparison.seeds,
        "complete": comparison.complete,
        "methods": {
            name: {"class": comparison.families[name], "config": config, "config_sha256": config_hash(config)}
            for name, config in comparison.configs.items()
        },
        "baseline": comparison.baseline,
        "ranking_users": comparison.ranking_users,
        "dropped": comparison.dropped,
        "fits": json.loads(comparison.fits.to_json(orient="records", double_precision=15)),
        "seconds": round(float(comparison.fits["seconds"].sum()), 3),
    }


def split_record(split: Any) -> dict[str, Any]:
    """Data set with its fingerprint, and the split with its counts."""
    data = split.dataset
    return {
        "data": {
            "name": data.name,
            "sha256": data.fingerprint(),
            "users": data.n_users,
            "items": data.n_items,
            "rating_scale": [float(bound) for bound in data.rating_scale],
            "threshold": float(data.threshold),
        },
        "split": {
            "name": split.name,
            "seed": split.seed,
            "counts": json.loads(split.counts().to_json(orient="records")),
        },
    }


def _csv(frame: pd.DataFrame) -> str:
    # float_format=None writes the shortest text that reads back to the same float64
    return frame.to_csv(index=False)
