"""``debiasrec fit`` and ``debiasrec evaluate``: one method at a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from .. import methods as zoo
from ..data import Split
from ..errors import DebiasRecError
from ..evaluation import evaluate as evaluate_models
from ..evaluation import validation_auc
from ..methods.options import check_device, check_options
from ..report.atomic import write_atomically
from ..report.files import split_record
from ..report.progress import FitProgress, fit_note
from ..report.provenance import environment
from ..report.tables import evaluation_view
from . import options as opt
from .app import app
from .parse import parse_numbers, parse_settings
from .source import DataSource, takes_data

RECORD = "fit.json"
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint, to the same bits.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Folder for a checkpoint, written during the fit.")]


@app.command(epilog="Example:\n\ndebiasrec fit ips --set propensity=popularity --out runs/ips")
@takes_data
def fit(
    method: Annotated[str, typer.Argument(help="A method of `debiasrec list`.")],
    out: Annotated[Path, typer.Option(help="Folder for the fitted model.")],
    source: DataSource,
    split: opt.SplitName = None,
    split_seed: opt.SplitSeed = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model.")] = 0,
    settings: opt.Settings = None,
    no_preset: opt.NoPreset = False,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    threads: opt.Threads = None,
    device: opt.Device = "cpu",
) -> None:
    """Fit a method and save it."""
    opt.use_threads(threads)
    chosen = source.split(split, split_seed)
    start = {} if no_preset else zoo.preset(method, chosen.dataset.name, chosen.name)
    model = zoo.make(method, **{**start, **parse_settings(settings), "seed": seed})
    check_options(model)
    check_device(device)
    out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made fails before the fit
    try:
        with FitProgress(1) as bar:
            bar.start(f"{method} seed {seed}")
            model.fit(chosen, device=device, progress=bar.epoch, checkpoint=checkpoint, resume=resume)
            bar.finish(fit_note(model, validation_auc(model, chosen)))
    except KeyboardInterrupt:
        kept = (
            f"the checkpoint in {checkpoint} is kept: add --resume" if checkpoint else "nothing kept (no --checkpoint)"
        )
        print(f"interrupted: {kept}", file=sys.stderr)
        raise typer.Exit(130) from None
    model.save(out)
    record = {"source": source.to_json(), "environment": environment(device), **split_record(chosen)}
    write_atomically(out / RECORD, json.dumps(record, indent=2) + "\n")
    epochs = f"best epoch {model.best_epoch_} of {len(model.history_)}, stopped by {model.stopped_by_}"
    print(f"{method} on {chosen.dataset.name}, split {chosen.name}: {epochs}. Saved in {out}")
    print(f"Next: debiasrec evaluate {out}")


@app.command(epilog="Example:\n\ndebiasrec evaluate runs/mf runs/ips --k 5,10")
@takes_data
def evaluate(
    models: Annotated[list[Path], typer.Argument(help="Folders of fitted models.")],
    source: DataSource | None,
    split: opt.SplitName = None,
    split_seed: opt.SplitSeed = 0,
    k: opt.Ks = None,
    threads: opt.Threads = None,
) -> None:
    """Evaluate saved models on the biased and the debiased test."""
    opt.use_threads(threads)
    if source is None:
        chosen = _fitted_split(models)
    else:
        chosen = source.split(split, split_seed)
        _warn_of_other_splits(models, chosen)
    names = [folder.name for folder in models]
    short = len(set(names)) == len(names)
    fitted = {folder.name if short else str(folder): zoo.load_model(folder) for folder in models}
    table = evaluate_models(fitted, chosen, None if k is None else parse_numbers(k, "--k"))
    console = Console()
    console.print(Text(f"{chosen.dataset.name}, split {chosen.name} (seed {chosen.seed})", style="bold"))
    console.print(evaluation_view(table))


def _read_record(folder: Path) -> dict[str, Any] | None:
    file = folder / RECORD
    return json.loads(file.read_text()) if file.is_file() else None


def _fitted_split(folders: list[Path]) -> Split:
    """The one split that all these models were fitted on, from the data as they are now."""
    records = {str(folder): _read_record(folder) for folder in folders}
    if unknown := [name for name, record in records.items() if record is None]:
        raise DebiasRecError(
            f"{', '.join(unknown)}: no {RECORD} there; name the data and the split with --data, --split"
        )
    kept = [{key: record[key] for key in ("data", "split")} for record in records.values() if record is not None]
    if any(record != kept[0] for record in kept):
        raise DebiasRecError(
            f"{', '.join(records)} were fitted on different data or splits; name one with --data, --split"
        )
    source = next(iter(records.values()))["source"]  # type: ignore[index]
    loaded = DataSource.from_json(source).load()
    if loaded.fingerprint() != kept[0]["data"]["sha256"]:
        raise DebiasRecError(f"{loaded.name}: the data changed since the fit; name data and split with --data, --split")
    return loaded.split(kept[0]["split"]["name"], seed=kept[0]["split"]["seed"])


def _warn_of_other_splits(folders: list[Path], chosen: Split) -> None:
    for folder in folders:
        record = _read_record(folder)
        if record is not None and record["split"] != split_record(chosen)["split"]:
            fitted = f"split {record['split']['name']} (seed {record['split']['seed']})"
            print(f"warning: {folder} was fitted on {fitted}: its training rows may be tested here", file=sys.stderr)
