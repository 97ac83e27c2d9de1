"""Settings of methods for known data sets: `debiasrec/presets/<method>.json`.

Each file maps a data set ("coat"), or a split of it ("coat/ltd"), to its "params" and to the "record" of where they
come from: a paper, its public program, or a search on validation data.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


def preset(method_name: str, dataset_name: str, split_name: str | None = None) -> dict[str, Any]:
    """The hyper-parameters of a method for a data set, those for this split of it first; empty when there are none."""
    entry = _entry(method_name, dataset_name, split_name)
    return {} if entry is None else dict(entry["params"])


def preset_record(method_name: str, dataset_name: str, split_name: str | None = None) -> Any:
    """Where those hyper-parameters come from; None when there are none."""
    entry = _entry(method_name, dataset_name, split_name)
    return None if entry is None else entry["record"]


def _entry(method_name: str, dataset_name: str, split_name: str | None) -> dict[str, Any] | None:
    entries = _entries(method_name)
    return entries.get(f"{dataset_name}/{split_name}") or entries.get(dataset_name)


@cache
def _entries(method_name: str) -> dict[str, Any]:
    file = resources.files("debiasrec") / "presets" / f"{method_name}.json"
    return json.loads(file.read_text()) if file.is_file() else {}
