"""Several methods, several seeds, one split."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
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
from ..report.progress import FitProgress
from ..training.validation import validation_rows
from .comparison import FIT_COLUMNS, RESULT_COLUMNS, Comparison
from .evaluate import check_ks, evaluate, score_rows
from .metrics import global_auc
from .parts import make_part


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
    ks: Sequence[int] = (5,),
    preset: bool = True,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "cpu",
    progress: bool = False,
    out: str | Path | None = None,
) -> Comparison:
    """Fit every method with every seed, evaluate each fit on both tests, and summarise.

    All methods run with seed 0, then all with seed 1, and so on, so that an interrupted run compares like with like.

    Args:
        split: what to train, validate and test on; it stays the same, only the model seed changes.
        methods: names from ``debiasrec.methods.REGISTRY``, or methods of one's own by the name they get in the table.
        seeds: how many (0 .. seeds-1), or which.
        ks: list lengths of the ranking metrics, each at least 1.
        preset: use the papers' settings where a method named by a string has some for this data set.
        options: method name to hyper-parameters that override the preset.
        device: where to train.
        progress: show bars on a terminal, one line per fit elsewhere (both on stderr).
        out: directory; its files are rewritten after each fit, so that an interruption keeps what is done.

    Returns:
        The comparison.

    Raises:
        DebiasRecError: unknown methods or options, repeated names or seeds, a method that needs uniform data which
            the split lacks. Everything is checked before the first fit.
        ComparisonInterrupted: Ctrl-C; it holds what is done.
    """
    check_split(split)
    lengths = check_ks(ks)
    check_device(device)
    templates = _templates(split, methods, preset, options or {})
    seed_list = _seed_list(seeds)
    configs = {name: _config(method) for name, method in templates.items()}
    comparison = Comparison(split, seed_list, configs, {name: m.name for name, m in templates.items()}, device=device)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)  # what cannot be written fails before the first fit
    try:
        with FitProgress(len(seed_list) * len(templates), enabled=progress) as bar:
            for seed, name in itertools.product(seed_list, templates):
                bar.start(name, seed)
                model = clone(templates[name]).set_params(seed=seed)
                model.fit(split, device=device, progress=bar.epoch)
                _record(comparison, name, seed, model, lengths)
                bar.finish(model, comparison.fits["validation_auc"].iloc[-1])
                if out is not None:
                    comparison.save(out)
    except KeyboardInterrupt:
        raise ComparisonInterrupted(comparison) from None
    return comparison


def validation_auc(model: zoo.Method, split: Split) -> float:
    """Global AUC on the rows that early stopping watches for "auc"; NaN when the split has no such rows.

    Args:
        model: a fitted method.
        split: where the validation rows come from.

    Returns:
        The AUC in [0, 1] or NaN.
    """
    rows = validation_rows(split, "auc")
    if rows is None:
        return float("nan")
    part = make_part("validation", rows, split.dataset.positives(rows.ratings))
    return global_auc(score_rows(model.name, model, rows), part)


def _record(comparison: Comparison, name: str, seed: int, model: zoo.Method, ks: tuple[int, ...]) -> None:
    table = evaluate({name: model}, comparison.split, ks)
    figures = [(name, seed, test, metric, value) for (test, metric), value in table.iloc[0].items()]
    fit = (
        name,
        seed,
        validation_auc(model, comparison.split),
        model.best_epoch_,
        model.stopped_by_,
        model.fit_seconds_,
    )
    comparison.results = _append(comparison.results, figures, RESULT_COLUMNS)
    comparison.fits = _append(comparison.fits, [fit], FIT_COLUMNS)
    comparison.dropped = table.attrs["dropped"]
    comparison.ranking_users = table.attrs["ranking_users"]


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
