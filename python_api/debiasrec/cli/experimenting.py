"""``debiasrec experiment``: a table or a figure of a paper, ours beside theirs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..evaluation.compare import ComparisonInterrupted
from . import options as opt
from .app import app
from .parse import parse_list
from .source import DataSource

EXAMPLES = """Examples:

debiasrec experiment bal-table2 --data coat --root data/coat

debiasrec experiment interd-table2 --seeds 2 --methods mf_combine,ips"""


@app.command(epilog=EXAMPLES)
def experiment(
    name: Annotated[str, typer.Argument(help="An experiment of `debiasrec list`.")],
    data: Annotated[str, typer.Option(help="A data set of `debiasrec list`.")] = "simulated",
    root: opt.Root = None,
    drop_overlap: opt.DropOverlap = False,
    core: opt.Core = None,
    seeds: Annotated[int, typer.Option(min=1, help="Model seeds 0 .. N-1 per row.")] = 5,
    split_seed: opt.SplitSeed = 0,
    methods: Annotated[str | None, typer.Option(help="Rows or methods to run. Left out: all there are.")] = None,
    out: opt.Out = None,
    threads: opt.Threads = None,
    device: opt.Device = "cpu",
) -> None:
    """Run an experiment of a paper; what its folder holds already is not run again."""
    from ..experiments import experiment as experiment_named
    from ..experiments import run
    from ..experiments.view import outcome_view

    opt.use_threads(threads)
    chosen = experiment_named(name)
    folder = out or Path("runs") / f"{name}-{data}"
    try:
        outcome = run(
            chosen,
            DataSource(data, root, drop_overlap, core).load(),
            folder,
            seeds=seeds,
            split_seed=split_seed,
            methods=None if methods is None else parse_list(methods, "--methods"),
            device=device,
            progress=True,
        )
    except ComparisonInterrupted as interruption:
        print(f"interrupted: {interruption} in {folder}; the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    Console().print(outcome_view(outcome))
    print(f"Files in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
