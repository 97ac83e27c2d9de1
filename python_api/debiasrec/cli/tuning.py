"""``debiasrec tune``: search for hyper-parameters on the validation rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DebiasRecError
from ..tuning import tune as tune_method
from . import options as opt
from .app import app
from .parse import settings_by_method
from .source import DataSource

EXAMPLES = """Examples:

debiasrec tune ips --trials 20 --out runs/tuned

debiasrec tune mf ips --data coat --root data/coat --out runs/tuned --resume"""


@app.command(epilog=EXAMPLES)
def tune(
    methods: Annotated[list[str], typer.Argument(help="Methods of `debiasrec list`.")],
    out: Annotated[Path, typer.Option(help="Folder for the presets and the trials.")],
    trials: Annotated[int, typer.Option(min=1, help="Fits per method.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the trials in --out.")] = False,
    data: opt.Data = "simulated",
    root: opt.Root = None,
    drop_overlap: opt.DropOverlap = False,
    uniform: opt.Uniform = None,
    user_column: opt.UserColumn = "user",
    item_column: opt.ItemColumn = "item",
    rating_column: opt.RatingColumn = "rating",
    scale: opt.Scale = None,
    threshold: opt.Threshold = None,
    split: opt.SplitName = None,
    split_seed: opt.SplitSeed = 0,
    settings: opt.Settings = None,
    no_preset: opt.NoPreset = False,
    threads: opt.Threads = None,
    device: opt.Device = "cpu",
) -> None:
    """Search for hyper-parameters; validation rows alone decide. Prints and keeps the entries of the presets."""
    opt.use_threads(threads)
    source = DataSource(
        data, root, drop_overlap, uniform, user_column, item_column, rating_column, scale, threshold
    )  # fmt: skip
    chosen = source.split(split, split_seed)
    options = settings_by_method(settings, methods)
    if strangers := sorted(set(options) - set(methods)):
        raise DebiasRecError(f"--set: {', '.join(strangers)} not among the methods {', '.join(methods)}")
    try:
        for method in methods:
            tuning = tune_method(
                method,
                chosen,
                trials=trials,
                seed=seed,
                preset=not no_preset,
                options=options.get(method),
                device=device,
                progress=True,
                out=out,
                resume=resume,
            )
            print(json.dumps({method: tuning.entry()}, indent=2))
    except KeyboardInterrupt:
        print(f"interrupted: the trials in {out} are kept: add --resume", file=sys.stderr)
        raise typer.Exit(130) from None
