"""What a search has tried, and the preset that comes out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Split
from ..errors import DebiasRecError
from ..methods.persistence import plain_params
from ..report.atomic import write_atomically
from ..report.files import split_record
from ..training.validation import higher_is_better
from .space import Interval, Space

if TYPE_CHECKING:
    from ..methods import Method

PACKAGES = ("debias-ext", "optuna", "torch")


@dataclass
class Tuning:
    """The trials of one method on one split.

    Attributes:
        method: its registered name.
        split: what it was tuned for; the trials saw its training and validation rows only.
        template: the method with the settings that the search started from.
        start: these settings, as far as they are not the defaults.
        space: what is searched.
        seed: of the search.
        enqueued: params of the first trials, which are not searched for.
        trials: "params", "value" (None where the fit diverged) and "seconds" of each, in order; of finalists also
            "repeats", the values with further model seeds.
    """

    method: str
    split: Split
    template: Method
    start: dict[str, Any]
    space: Space
    seed: int
    enqueued: list[dict[str, Any]]
    trials: list[dict[str, Any]] = field(default_factory=list)

    @property
    def criterion(self) -> str:
        """One of `debiasrec.training.validation.CRITERIA`."""
        return getattr(self.template, "criterion", "auc")

    @property
    def higher_is_better(self) -> bool:
        """The direction of the criterion."""
        return higher_is_better(self.criterion)

    @property
    def best(self) -> dict[str, Any] | None:
        """The best trial, the first one among equals: by its mean among the finalists that never diverged, if any.

        None when every fit diverged.
        """
        finalists = [trial for trial in self.trials if "repeats" in trial]
        ranked = self.ranked(finalists, mean_value) or self.ranked(self.trials, mean_value)
        return ranked[0] if ranked else None

    def ranked(self, trials: list[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]) -> list[Any]:
        """Those of the trials that have a value, the best first, equal ones in their order."""
        valued = [(own, trial) for trial in trials if (own := value(trial)) is not None]
        return [trial for _, trial in sorted(valued, key=lambda pair: pair[0], reverse=self.higher_is_better)]

    def entry(self) -> dict[str, Any]:
        """What goes into ``debiasrec/presets/<method>.json``: the settings and the record of the search."""
        best = self.best
        assert best is not None, "entry() of a search without a finished trial"
        record = {
            "tuned": f"TPE, {len(self.trials)} trials{self._origin()}, seed {self.seed}, model seed 0{self._final()}",
            "trials": len(self.trials),
            "criterion": f"{self.criterion} on the validation rows of split {self.split.name}, seed {self.split.seed}",
            "start": self.trials[0]["value"],
            "best": mean_value(best),
            "ranges": _plain(self.space),
            "data_sha256": self.split.dataset.fingerprint(),
            "versions": {name: version(name) for name in PACKAGES},
        }
        settings = plain_params(self.template)
        params = {option: settings[option] for option in self.start} | best["params"]
        return {_key(self.split): {"params": params, "record": record}}

    def _origin(self) -> str:
        """Where the second trial comes from, in words."""
        return "" if self.template.twin is None else f", the second with the settings of {self.template.twin}"

    def _final(self) -> str:
        """How the finalists were told apart, in words."""
        repeats = [len(trial["repeats"]) for trial in self.trials if "repeats" in trial]
        return f"; of {len(repeats)} finalists the best over {1 + max(repeats)} model seeds" if repeats else ""

    def save(self, directory: str | Path) -> None:
        """Write ``<method>.trials.json`` and, with a finished trial, ``<method>.json``."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        files = {f"{self.method}.trials.json": {**self._identity(), "trials": self.trials}}
        if self.best is not None:
            files[f"{self.method}.json"] = self.entry()
        for name, content in files.items():
            write_atomically(folder / name, json.dumps(content, indent=2) + "\n")

    def read(self, directory: str | Path) -> None:
        """Take over the trials that ``save`` left in a folder, if there are any.

        Raises:
            DebiasRecError: they belong to another search.
        """
        file = Path(directory) / f"{self.method}.trials.json"
        if not file.is_file():
            return
        kept = json.loads(file.read_text())
        for key, value in json.loads(json.dumps(self._identity())).items():
            if kept.get(key) != value:
                raise DebiasRecError(f"{file}: its trials have another {key}: {kept.get(key)}, now {value}")
        self.trials = kept["trials"]

    def _identity(self) -> dict[str, Any]:
        settings = {key: value for key, value in plain_params(self.template).items() if key != "seed"}
        return {
            "method": self.method,
            **split_record(self.split),
            "settings": settings,
            "ranges": _plain(self.space),
            "search_seed": self.seed,
        }


def mean_value(trial: dict[str, Any]) -> float | None:
    """The mean over the model seeds that a trial was fitted with; None where a fit diverged."""
    values = [trial["value"], *trial.get("repeats", ())]
    return None if None in values else sum(values) / len(values)


def tuned(method: str, split: Split, directory: str | Path) -> dict[str, Any] | None:
    """The settings that ``Tuning.save`` left for a method and a split in a folder; None where there are none."""
    file = Path(directory) / f"{method}.json"
    entry = json.loads(file.read_text()).get(_key(split)) if file.is_file() else None
    return None if entry is None else entry["params"]


def _key(split: Split) -> str:
    return f"{split.dataset.name}/{split.name}"


def _plain(space: Space) -> dict[str, Any]:
    return {
        option: {"low": searched.low, "high": searched.high, "log": searched.log}
        if isinstance(searched, Interval)
        else list(searched)
        for option, searched in space.items()
    }
