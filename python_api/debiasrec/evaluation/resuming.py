"""Going on with a comparison from the files it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DebiasRecError
from .comparison import FIT_COLUMNS, Comparison, config_hash


def take_over(comparison: Comparison, directory: str | Path) -> None:
    """Add the fits whose results stand in a folder, also those of methods and seeds that are not asked for now.

    Args:
        comparison: a new one; its split, its metrics and the settings of its methods have to be those of the folder.
        directory: where ``Comparison.save`` wrote; nothing happens when there are no results.

    Raises:
        DebiasRecError: the results belong to other data, another split, other list lengths, another device, other
            versions of the packages, or other settings of a method.
    """
    from ..report.files import read_results, split_record
    from ..report.provenance import environment

    folder = Path(directory)
    if not (folder / "run.json").is_file() or not (folder / "results.csv").is_file():
        return
    record = json.loads((folder / "run.json").read_text())
    expected = {**split_record(comparison.split), "ks": list(comparison.ks)}
    for key, value in expected.items():
        if record.get(key) != value:
            raise DebiasRecError(f"{folder}: its results have another {key}: {record.get(key)}, now {value}")
    now = environment(comparison.device)
    for key in ("device", "packages"):
        if record["environment"][key] != now[key]:
            was = record["environment"][key]
            raise DebiasRecError(f"{folder}: its results have other {key}: {was}, now {now[key]}; take another folder")
    for name in dict.fromkeys(fit["method"] for fit in record["fits"]):
        kept = record["methods"][name]
        _check_settings(folder, name, kept["config"], comparison.configs.get(name))
        comparison.configs.setdefault(name, kept["config"])
        comparison.families.setdefault(name, kept["class"])
    comparison.seeds = sorted({*comparison.seeds, *record["seeds"]})
    comparison.fits = pd.DataFrame(record["fits"], columns=FIT_COLUMNS).astype({"validation_auc": float})
    # The results are written first: a run that was killed in between fits that method again.
    results = read_results(folder)
    done = pd.MultiIndex.from_frame(comparison.fits[["method", "seed"]])
    kept_rows = pd.MultiIndex.from_frame(results[["method", "seed"]]).isin(done)
    comparison.results = results[kept_rows].reset_index(drop=True)
    comparison.dropped, comparison.ranking_users = record["dropped"], record["ranking_users"]


def _check_settings(folder: Path, name: str, kept: dict[str, Any], now: dict[str, Any] | None) -> None:
    if now is None or config_hash(kept) == config_hash(now):
        return
    options = sorted(option for option in {*kept, *now} if kept.get(option) != now.get(option))
    changes = ", ".join(f"{option} was {kept.get(option)!r}, is {now.get(option)!r}" for option in options)
    raise DebiasRecError(f"{folder}: its results of {name} have other settings ({changes}); take another folder")
