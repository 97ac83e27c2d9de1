"""Search for the hyper-parameters of a method on the validation rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn.base import clone

from .. import methods as zoo
from ..data import Split
from ..data.dataset import check_split
from ..data.validation import is_whole
from ..errors import DebiasRecError
from ..evaluation import validation_value
from ..methods.options import check_device, check_options, ranges
from ..methods.persistence import plain_params
from ..methods.teacher_files import keeping_teachers
from ..report.progress import FitProgress
from ..training.loop import DivergenceError
from ..training.validation import validation_rows
from .blind import without_tests
from .space import Space, search_space
from .suggest import suggest
from .trials import Tuning, tuned

SEEDS = (1, 2)  # of the models that finalists are fitted with beside model seed 0


def tune(
    method: str,
    split: Split,
    *,
    trials: int = 50,
    finalists: int = 0,
    seed: int = 0,
    preset: bool = True,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    progress: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
) -> Tuning:
    """Search for the hyper-parameters of a method that do best on the validation rows.

    The first trial fits the settings to start from, so the best is never worse than they are. A method with a twin, as
    the balanced ones, goes by the twin's criterion, and its second trial fits the twin's settings in what both search:
    those that ``out`` holds, else the preset. Every trial fits one model, with model seed 0, to a copy of the split
    that holds no test row. A fit that diverges counts as a trial.

    Args:
        method: a name from ``debiasrec.methods.REGISTRY``.
        split: what to train and validate on: the criterion is the method's own on the uniform
            validation rows, else on the biased ones.
        trials: how many fits, at least 1.
        finalists: after the search the settings to start from and so many of the best trials are fitted with two more
            model seeds, and the best mean wins: a single fit flatters settings on the edge of stability. 0 for none.
        seed: of the search; the same seed makes the same trials.
        preset: start from the preset where the method has one for this data set.
        options: hyper-parameters over those; what is not searched stays as it is.
        device: where to train.
        progress: show bars on a terminal, one line per trial elsewhere (both on stderr).
        out: folder for ``<method>.json`` (the entry for ``debiasrec/presets``) and ``<method>.trials.json``, rewritten
            after each trial; teachers that the method learns from are kept in its folder ``teachers``.
        resume: go on after the trials in ``out``, to the same trials as an uninterrupted search.

    Returns:
        The trials and the best settings.

    Raises:
        DebiasRecError: an unknown method or option, nothing to search, no validation rows, every trial diverged, or the
            trials in ``out`` belong to another search.
    """
    check_split(split)
    check_device(device)
    for name, value, least in (("trials", trials, 1), ("finalists", finalists, 0), ("seed", seed, 0)):
        if not is_whole(value) or value < least:
            raise DebiasRecError(f"{name} must be a whole number, at least {least}, got {value!r}")
    if resume and out is None:
        raise DebiasRecError("resume=True needs out=, the folder of the trials to go on from")
    if "seed" in (options or {}):
        raise DebiasRecError("seed: every trial fits model seed 0; leave it out of the options")
    start = {**(zoo.preset(method, split.dataset.name, split.name) if preset else {}), **(options or {})}
    template = zoo.make(method, **start)
    twin = _twin(template, split, preset, out)
    if twin is not None and "criterion" not in (options or {}):
        start["criterion"] = twin.criterion
        template.set_params(criterion=twin.criterion)
    template.set_params(seed=0)
    check_options(template)
    space = search_space(template)
    if not space:
        raise DebiasRecError(f"{method} has nothing to search: none of its options is in debiasrec.tuning.space")
    tuning = Tuning(method, split, template, start, space, seed, _enqueued(template, twin, space))
    if validation_rows(split, tuning.criterion) is None:
        raise DebiasRecError(f"split {split.name!r} of {split.dataset.name!r} has no validation rows to tune on")
    if resume:
        tuning.read(Path(out))  # type: ignore[arg-type]
    fits = _Fits(tuning, device, progress, None if out is None else Path(out))
    with keeping_teachers(out):
        fits.search(trials)
        if finalists:
            fits.repeat(finalists)
    if tuning.best is None:
        raise DebiasRecError(
            f"{method}: all {len(tuning.trials)} fits diverged; start from smaller steps (options lr=)"
        )
    return tuning


class _Fits:
    """Fits of a method to a split without its tests, with bars, kept after each."""

    def __init__(self, tuning: Tuning, device: str, progress: bool, out: Path | None) -> None:
        self.tuning, self.device, self.progress, self.out = tuning, device, progress, out
        self.split = without_tests(tuning.split)

    def search(self, trials: int) -> None:
        """Trials, up to so many in all."""
        kept = self.tuning.trials
        with FitProgress(max(trials - len(kept), 0), enabled=self.progress) as bar:
            while len(kept) < trials:
                params = _next(self.tuning)
                value, seconds = self._fit(bar, f"trial {len(kept)}", params, 0)
                kept.append({"params": params, "value": value, "seconds": seconds})
                self._keep()

    def repeat(self, finalists: int) -> None:
        """Fits of the first trial and of the `finalists` best with further model seeds."""
        kept = self.tuning.trials
        ranked = self.tuning.ranked(kept, lambda trial: trial["value"])
        chosen = [kept[0], *(trial for trial in ranked[:finalists] if trial is not kept[0])]
        missing = [(trial, seed) for trial in chosen for seed in SEEDS[len(trial.get("repeats", ())) :]]
        with FitProgress(len(missing), enabled=self.progress) as bar:
            for trial, seed in missing:
                value, _ = self._fit(bar, f"trial {kept.index(trial)}, seed {seed}", trial["params"], seed)
                trial.setdefault("repeats", []).append(value)
                self._keep()

    def _fit(self, bar: FitProgress, label: str, params: dict[str, Any], seed: int) -> tuple[float | None, float]:
        """The criterion on the validation rows, None where the fit diverged, and the seconds it took."""
        tuning = self.tuning
        bar.start(f"{tuning.method} {label}")
        model = clone(tuning.template).set_params(**params, seed=seed)
        began = time.perf_counter()
        try:
            model.fit(self.split, device=self.device, progress=bar.epoch)
            value: float | None = validation_value(model, self.split, tuning.criterion)
        except DivergenceError:
            value = None
        seconds = round(time.perf_counter() - began, 3)
        bar.finish("diverged" if value is None else f"validation {tuning.criterion} {value:.4f}")
        return value, seconds

    def _keep(self) -> None:
        if self.out is not None:
            self.tuning.save(self.out)


def _next(tuning: Tuning) -> dict[str, Any]:
    done = len(tuning.trials)
    if done < len(tuning.enqueued):
        return tuning.enqueued[done]
    return suggest(tuning.space, tuning.trials, higher_is_better=tuning.higher_is_better, seed=tuning.seed)


def _twin(template: zoo.Method, split: Split, preset: bool, out: str | Path | None) -> Any:
    """The twin of a method as it was tuned for this split in ``out``, else with its preset; None where it has none."""
    name = template.twin
    if name is None:
        return None
    settings = zoo.preset(name, split.dataset.name, split.name) if preset else {}
    return zoo.make(name, **((None if out is None else tuned(name, split, out)) or settings))


def _enqueued(template: zoo.Method, twin: zoo.Method | None, space: Space) -> list[dict[str, Any]]:
    """The trials that a search begins with: the settings to start from, and those of the twin over them."""
    settings, declared = plain_params(template), ranges(template)
    start = {option: settings[option] for option in space}
    if twin is None:
        return [start]
    known = plain_params(twin)
    shared = {option: known[option] for option in space if option in known and declared[option].holds(known[option])}
    return [start, {**start, **shared}]
