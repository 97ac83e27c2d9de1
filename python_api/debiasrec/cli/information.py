"""``debiasrec list | data | bench | doctor``."""

from __future__ import annotations

import sys

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import data as datasets
from .. import methods as zoo
from ..data import Dataset
from ..experiments import EXPERIMENTS
from . import options as opt
from .app import app
from .source import DataSource, takes_data

EXAMPLES = """Examples:

debiasrec data --split interd

debiasrec data --data ratings.csv --uniform random.csv --scale 1,5"""
MAX_LEVELS = 20  # rating levels listed one by one


@app.command(name="list")
def list_() -> None:
    """What there is: methods, data sets, splits, experiments."""
    console = Console()
    methods = _table("Methods", ["name", "trains on", "what it does", "paper"])
    for name, method in zoo.REGISTRY.items():
        trains_on = "clicks" if method.sequential else "biased + uniform" if method.needs_uniform else "biased"
        methods.add_row(name, "uniform" if name == "mf_uniform" else trains_on, method.summary, method.source)
    console.print(methods)
    sets = _table("Data sets (--data)", ["name", "what it is"])
    for name, loader in datasets.DATASETS.items():
        sets.add_row(name, (sys.modules[loader.__module__].__doc__ or "").partition("\n")[0])
    sets.add_row("FILE.csv", "your own ratings; add --uniform FILE.csv for ratings of random items")
    console.print(sets)
    splits = _table("Splits (--split)", ["name", "what is what"])
    for name, protocol in datasets.SPLITS.items():
        splits.add_row(name, protocol.summary)
    console.print(splits)
    papers = _table("Experiments (debiasrec experiment)", ["name", "what it shows", "paper"])
    for name, experiment in EXPERIMENTS.items():
        papers.add_row(name, experiment.title, experiment.source)
    console.print(papers)


@app.command(epilog=EXAMPLES)
@takes_data
def data(
    source: DataSource,
    split: opt.SplitName = None,
    split_seed: opt.SplitSeed = 0,
) -> None:
    """Describe a data set and a split of it: sizes, ratings, overlap, counts per part."""
    chosen = source.split(split, split_seed)
    loaded = chosen.dataset
    console = Console()
    console.print(_description(loaded))
    for note in loaded.notes:
        console.print(f"Note: {note}", markup=False, highlight=False)
    counts = _table(f"Split {chosen.name}, seed {chosen.seed}", ["part", "rows", "users", "items", "positives"], 1)
    for part in chosen.counts().itertuples(index=False):
        share = part.positives / part.rows if part.rows else float("nan")
        counts.add_row(part.part, *(f"{value:,}" for value in part[1:4]), f"{part.positives:,} ({share:.1%})")
    console.print(counts)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> int:
    """Measure the operators against plain torch and the peers (debiasrec bench --help)."""
    from debiasrec.benchmarks.run import main as run_benchmarks

    return run_benchmarks(context.args) or 0


@app.command()
def doctor() -> int:
    """Say what was built, what runs here, and why CUDA is on or off."""
    from debias_ext import doctor as ext_doctor

    return ext_doctor.main() or 0


def _description(data: Dataset) -> Table:
    parts = {"biased": data.biased} | ({} if data.uniform is None else {"uniform": data.uniform})
    pairs = data.n_users * data.n_items
    table = _table(f"{data.name}: {data.n_users:,} users, {data.n_items:,} items", ["", *parts], 1)
    table.add_row("ratings", *(f"{len(part):,}" for part in parts.values()))
    table.add_row("share of all pairs", *(f"{len(part) / pairs:.2%}" for part in parts.values()))
    table.add_row("users", *(f"{len(np.unique(part.users)):,}" for part in parts.values()))
    table.add_row("items", *(f"{len(np.unique(part.items)):,}" for part in parts.values()))
    positive = [np.mean(data.positives(part.ratings)) for part in parts.values()]
    table.add_row(f"positive (rating >= {data.threshold:g})", *(f"{share:.1%}" for share in positive))
    levels = np.unique(np.concatenate([part.ratings for part in parts.values()]))
    for level in levels if len(levels) <= MAX_LEVELS else ():
        table.add_row(f"  rating {level:g}", *(f"{np.mean(part.ratings == level):.1%}" for part in parts.values()))
    if data.uniform is not None:
        shared = np.isin(data.uniform.pairs(data.n_items), data.biased.pairs(data.n_items)).sum()
        table.add_row("pairs in both", "", f"{shared:,}")
    return table


def _table(title: str, columns: list[str], right_from: int | None = None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for position, column in enumerate(columns):
        right = right_from is not None and position >= right_from
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold", no_wrap=position == 0)
    return table
