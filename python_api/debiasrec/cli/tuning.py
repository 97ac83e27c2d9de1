"""``debiasrec tune``: search for hyper-parameters on the validation rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import DebiasRecError
from ..experiments import experiment as experiment_named
from ..methods import REGISTRY, make
from ..tuning import search_space
from ..tuning import tune as tune_method
from . import options as opt
from .app import app
from .parse import settings_by_method
from .source import DataSource, takes_data

EXAMPLES = """Examples:

debiasrec tune ips --trials 20 --out runs/tuned

debiasrec tune mf ips --data coat --root data/coat --out runs/tuned --resume

debiasrec tune --experiment bal-table2 --trials 32 --out runs/tuned"""


@app.command(epilog=EXAMPLES)
@takes_data
def tune(
    out: Annotated[Path, typer.Option(help="Folder for the presets and the trials.")],
    source: DataSource,
    methods: Annotated[list[str] | None, typer.Argument(help="Methods of `debiasrec list`.")] = None,
    experiment: Annotated[str | None, typer.Option(help="All methods of its rows, on its split.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Fits per method.")] = 50,
    finalists: Annotated[int, typer.Option(min=0, help="Best trials that three model seeds decide between.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the trials in --out.")] = False,
    split: opt.SplitName = None,
    split_seed: opt.SplitSeed = 0,
    settings: opt.Settings = None,
    no_preset: opt.NoPreset = False,
    threads: opt.Threads = None,
    device: opt.Device = "cpu",
) -> None:
    """Search for hyper-parameters; validation rows alone decide. Prints and keeps the entries of the presets."""
    opt.use_threads(threads)
    if bool(methods) == bool(experiment):
        raise DebiasRecError("tune needs methods or --experiment, and not both")
    rows: dict[str, dict[str, Any]] = {method: {} for method in methods or []}
    if experiment:
        declared = experiment_named(experiment)
        rows = {name: shared for name, shared in declared.methods().items() if search_space(make(name, **shared))}
        split = split or declared.split
    chosen = source.split(split, split_seed)
    options = settings_by_method(settings, list(rows))
    if strangers := sorted(set(options) - set(rows)):
        raise DebiasRecError(f"--set: {', '.join(strangers)} not among the methods {', '.join(rows)}")
    try:
        # A method with a twin starts from what was found for the twin.
        for method in sorted(rows, key=lambda name: name in REGISTRY and REGISTRY[name].twin is not None):
            tuning = tune_method(
                method,
                chosen,
                trials=trials,
                finalists=finalists,
                seed=seed,
                preset=not no_preset,
                options={**rows[method], **options.get(method, {})},
                device=device,
                progress=True,
                out=out,
                resume=resume,
            )
            print(json.dumps({method: tuning.entry()}, indent=2))
    except KeyboardInterrupt:
        print(f"interrupted: the trials in {out} are kept: add --resume", file=sys.stderr)
        raise typer.Exit(130) from None
