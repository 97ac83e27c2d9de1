"""Several methods, several seeds, one split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.base import clone

from .. import methods as zoo
from ..data import Split
from ..data.dataset import check_split
from ..data.validation import is_whole
from ..errors import DebiasRecError
from ..methods.options import check_device, check_options
from ..methods.persistence import plain_params
from ..methods.teacher_files import keeping_teachers
from ..report.progress import FitProgress, fit_note
from ..training.loop import DivergenceError, ProgressEvent
from .comparison import DIVERGED, FIT_COLUMNS, RESULT_COLUMNS, Comparison
from .evaluate import check_ks, evaluate
from .resuming import take_over
from .validation import validation_auc

Figures = Mapping[tuple[str, str], float]
Measure = Callable[[zoo.Method, Split], Figures]
Watch = Callable[[zoo.Method, Split, ProgressEvent], Figures]


class ComparisonInterrupted(KeyboardInterrupt):
    """Ctrl-C during ``compare``; ``comparison`` holds the fits that were done."""

    def __init__(self, comparison: Comparison) -> None:
        total = len(comparison.seeds) * len(comparison.configs)
        super().__init__(f"{len(comparison.fits)} of {total} fits done and kept")
        self.comparison = comparison


def compare(
    split: Split,
    methods: Sequence[str] | Mapping[str, zoo.Method],
    seeds: int | Iterable[int] = 5,
    *,
    ks: Sequence[int] | None = None,
    preset: bool = True,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "cpu",
    progress: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    measure: Measure | None = None,
    watch: Watch | None = None,
) -> Comparison:
    """Fit every method with every seed, evaluate each fit on both tests, and summarise.

    All methods run with seed 0, then all with seed 1, and so on, so that an interrupted run compares like with like. A
    fit that diverges is counted, not averaged, and does not end the others.

    Args:
        split: what to train, validate and test on; it stays the same, only the model seed changes.
        methods: names from ``debiasrec.methods.REGISTRY``, or methods of one's own by the name they get in the table.
        seeds: how many (0 .. seeds-1), or which.
        ks: list lengths of the ranking metrics, each at least 1; left out those of the protocol's paper, else 5.
        preset: use the preset where a method named by a string has one for this data set.
        options: method name to hyper-parameters that override the preset.
        device: where to train.
        progress: show bars on a terminal, one line per fit elsewhere (both on stderr).
        out: directory; its files are rewritten after each fit, so that an interruption keeps what is done. Teachers
            that methods learn from are kept in its folder ``teachers`` and fitted once.
        resume: keep the results in ``out`` and fit only what is missing there.
        measure: further figures of a fitted method, (test, metric) to value; they join the results.
        watch: the same after every epoch, of the method as it stands.

    Returns:
        The comparison.

    Raises:
        DebiasRecError: unknown methods or options, repeated names or seeds, a method that needs uniform data which
            the split lacks, or results in ``out`` of other data or settings. All is checked before the first fit.
        DivergenceError: every fit diverged.
        ComparisonInterrupted: Ctrl-C; it holds what is done.
    """
    check_split(split)
    lengths = check_ks(ks, split)
    check_device(device)
    templates = _templates(split, methods, preset, options or {})
    seed_list = _seed_list(seeds)
    configs = {name: _config(method) for name, method in templates.items()}
    families = {name: method.name for name, method in templates.items()}
    comparison = Comparison(split, seed_list, configs, families, device=device, ks=lengths)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)  # what cannot be written fails before the first fit
    if resume:
        if out is None:
            raise DebiasRecError("resume=True needs out=, the folder of the results to go on from")
        take_over(comparison, out)
    done = set(zip(comparison.fits["method"], comparison.fits["seed"], strict=True))
    missing = [pair for pair in itertools.product(seed_list, templates) if pair[::-1] not in done]
    failure: DivergenceError | None = None
    try:
        with keeping_teachers(out), FitProgress(len(missing), enabled=progress) as bar:
            for seed, name in missing:
                bar.start(f"{name} seed {seed}")
                model = clone(templates[name]).set_params(seed=seed)
                try:
                    figures = _fit(model, split, device, bar, watch)
                except DivergenceError as error:
                    failure = error
                    _record_fit(comparison, (name, seed, math.nan, 0, DIVERGED, math.nan))
                    bar.finish(str(error))
                else:
                    figures |= {} if measure is None else measure(model, split)
                    _record(comparison, name, seed, model, figures)
                    bar.finish(fit_note(model, comparison.fits["validation_auc"].iloc[-1]))
                if out is not None:
                    comparison.save(out)
    except KeyboardInterrupt:
        raise ComparisonInterrupted(comparison) from None
    if comparison.diverged and comparison.results.empty:
        raise failure or DivergenceError(f"every fit in {out} diverged: take other settings and another folder")
    return comparison


def _fit(
    model: zoo.Method, split: Split, device: str, bar: FitProgress, watch: Watch | None
) -> dict[tuple[str, str], float]:
    """Fit with a progress bar; returns what was watched."""
    watched: dict[tuple[str, str], float] = {}

    def after_epoch(event: ProgressEvent) -> None:
        bar.epoch(event)
        if watch is not None:
            watched.update(watch(model, split, event))

    model.fit(split, device=device, progress=after_epoch)
    return watched


def _record(comparison: Comparison, name: str, seed: int, model: zoo.Method, measured: Figures) -> None:
    table = evaluate({name: model}, comparison.split, comparison.ks)
    values = {**table.iloc[0].to_dict(), **measured}
    figures = [(name, seed, test, metric, value) for (test, metric), value in values.items()]
    fit = (
        name,
        seed,
        validation_auc(model, comparison.split),
        model.best_epoch_,
        model.stopped_by_,
        model.fit_seconds_,
    )
    comparison.results = _append(comparison.results, figures, RESULT_COLUMNS)
    _record_fit(comparison, fit)
    comparison.dropped = table.attrs["dropped"]
    comparison.ranking_users = table.attrs["ranking_users"]


def _record_fit(comparison: Comparison, fit: tuple) -> None:
    comparison.fits = _append(comparison.fits, [fit], FIT_COLUMNS)


def _append(frame: pd.DataFrame, rows: list[tuple], columns: list[str]) -> pd.DataFrame:
    added = pd.DataFrame(rows, columns=columns)
    return added if frame.empty else pd.concat([frame, added], ignore_index=True)


def _templates(
    split: Split,
    methods: Sequence[str] | Mapping[str, zoo.Method],
    preset: bool,
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, zoo.Method]:
    if isinstance(methods, str):
        methods = [methods]
    names = list(methods)
    if not all(isinstance(name, str) for name in names):
        raise DebiasRecError(f"methods: expected names, or methods by name ({{'mine': MF(lr=0.1)}}), got {names}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise DebiasRecError(f"methods: expected distinct names, at least one, got {names}")
    strangers = sorted(set(options) - set(names))
    if strangers:
        raise DebiasRecError(f"options: {', '.join(strangers)} not among the compared methods {', '.join(names)}")
    templates = {}
    for name in names:
        if isinstance(methods, Mapping):
            templates[name] = clone(methods[name]).set_params(**options.get(name, {}))
        else:
            start = zoo.preset(name, split.dataset.name, split.name) if preset else {}
            templates[name] = zoo.make(name, **{**start, **options.get(name, {})})
    for method in templates.values():
        if isinstance(method, zoo.Method):
            check_options(method)
    hungry = [name for name, method in templates.items() if method.needs_uniform and split.uniform_train is None]
    if hungry:
        raise DebiasRecError(
            f"methods: {', '.join(hungry)} train on uniform ratings, and split {split.name!r} of "
            f"{split.dataset.name!r} has none"
        )
    return templates


def _seed_list(seeds: int | Iterable[int]) -> list[int]:
    listed = list(seeds) if isinstance(seeds, Iterable) else list(range(seeds)) if is_whole(seeds) else []
    if not listed or len(set(listed)) != len(listed) or not all(is_whole(seed) and seed >= 0 for seed in listed):
        raise DebiasRecError(f"seeds: expected at least one whole number >= 0, each once, got {seeds!r}")
    return [int(seed) for seed in listed]


def _config(method: zoo.Method) -> dict[str, Any]:
    return {key: value for key, value in plain_params(method).items() if key != "seed"}
