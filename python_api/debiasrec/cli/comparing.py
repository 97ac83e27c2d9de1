"""``debiasrec compare``: several methods, several seeds, both tests."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..evaluation import Comparison
from ..evaluation import compare as compare_methods
from ..evaluation.compare import ComparisonInterrupted
from ..report.tables import comparison_view
from . import options as opt
from .app import app
from .parse import parse_list, parse_numbers, settings_by_method
from .source import DataSource, takes_data

EXAMPLES = """Examples:

debiasrec compare --split interd --methods mf,ips,snips,dr --seeds 3

debiasrec compare --data coat --root data/coat --set ips.lr=1e-4

debiasrec compare --data ratings.csv --uniform random.csv --methods mf,snips"""


@app.command(epilog=EXAMPLES)
@takes_data
def compare(
    source: DataSource,
    methods: Annotated[str, typer.Option(help="Methods of `debiasrec list`.")] = "mf,ips,snips,dr",
    seeds: Annotated[int, typer.Option(min=1, help="Model seeds 0 .. N-1 per method.")] = 5,
    split: opt.SplitName = None,
    split_seed: opt.SplitSeed = 0,
    k: opt.Ks = None,
    settings: opt.Settings = None,
    no_preset: opt.NoPreset = False,
    out: opt.Out = None,
    threads: opt.Threads = None,
    device: opt.Device = "cpu",
) -> None:
    """Fit methods with several seeds; show the biased and the debiased test side by side; keep CSV and JSON."""
    opt.use_threads(threads)
    chosen = source.split(split, split_seed)
    names = parse_list(methods, "--methods")
    folder = out or Path("runs") / f"{chosen.dataset.name}-{chosen.name}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        comparison = compare_methods(
            chosen,
            names,
            seeds,
            ks=None if k is None else parse_numbers(k, "--k"),
            preset=not no_preset,
            options=settings_by_method(settings, names),
            device=device,
            progress=True,
            out=folder,
        )
    except ComparisonInterrupted as interruption:
        _show(interruption.comparison, folder)
        print(f"interrupted: {interruption}", file=sys.stderr)
        raise typer.Exit(130) from None
    _show(comparison, folder)


def _show(comparison: Comparison, folder: Path) -> None:
    if comparison.results.empty:
        return
    Console().print(comparison_view(comparison))
    files = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
    print(f"Files in {folder}: {files}")
