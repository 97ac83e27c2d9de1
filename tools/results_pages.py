#!/usr/bin/env python3
"""Writes docs/results/*.md from the tables in docs/results/data.

Folders that `debiasrec experiment` wrote may be named: their table and figure are taken over first. With --check
nothing is written: the status is 1 when a page is not what the tables say.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

from debiasrec.evaluation.comparison import DIVERGED
from debiasrec.experiments import EXPERIMENTS, Experiment
from debiasrec.experiments.view import FIGURES, with_spread
from debiasrec.methods import make, preset_record
from debiasrec.report.guide import diverged_text
from debiasrec.report.plot import metric_label
from debiasrec.tuning import search_space

PAGES = Path(__file__).resolve().parents[1] / "docs" / "results"
LEGEND = """Ours: mean±sd over model seeds on one split, with the presets of `debiasrec`. Paper, program: what the paper
prints, and what its public program prints on the same files; `published.csv` in `debiasrec/experiments` has the origin
of every figure. The papers' splits and seeds are not published. `*above`, `*below`: differs from the row that it is
tested against, p < 0.05, paired t-test over the seeds."""


def take_over(run: Path, pages: Path) -> None:
    """Copy the table, the figure and the run records of an experiment's folder, these without the command's paths."""
    record = json.loads((run / "experiment.json").read_text())
    (pages / "data").mkdir(parents=True, exist_ok=True)
    for name, ending in (("table.csv", "csv"), ("figure.png", "png")):
        if (run / name).is_file():
            shutil.copyfile(run / name, pages / "data" / f"{record['experiment']}-{record['data']}.{ending}")
    for file in run.rglob("run.json"):
        kept = json.loads(file.read_text())
        del kept["environment"]["command"]
        name = "-".join([record["experiment"], record["data"], *file.parent.relative_to(run).parts])
        (pages / "data" / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n")


def written(pages: Path) -> dict[Path, str]:
    """Every page and its text, the index among them."""
    texts = {}
    lines = ["# Results", "", "Written by `python tools/results_pages.py`.", ""]
    for name, experiment in EXPERIMENTS.items():
        files = sorted((pages / "data").glob(f"{name}-*.csv"))
        if files:
            texts[pages / f"{name}.md"] = page(experiment, files)
            lines.append(f"- [{name}]({name}.md): {experiment.title} ({experiment.source})")
    return {pages / "README.md": "\n".join([*lines, ""]), **texts}


def page(experiment: Experiment, files: list[Path]) -> str:
    """One experiment on every data set there is a table of."""
    lines = [f"# {experiment.name}: {experiment.title}", "", f"Source: {experiment.source}.", "", LEGEND, ""]
    for file in files:
        dataset = file.stem.removeprefix(f"{experiment.name}-")
        table = pd.read_csv(file, dtype={"part": str, "against": str}).fillna({"part": "", "against": ""})
        seeds = ", ".join(map(str, sorted(table["n"].unique())))
        root = "" if dataset == "simulated" else " --root FOLDER"
        command = f"`debiasrec experiment {experiment.name} --data {dataset}{root} --seeds {table['n'].max()}`"
        lines += [f"## {dataset}", "", f"{command}; seeds per row: {seeds}.", "", *markdown(table), ""]
        tested = table.loc[table["against"] != "", ["method", "against"]].drop_duplicates()
        if len(tested):
            pairs = "; ".join(f"{row.method} against {row.against}" for row in tested.itertuples())
            lines += [f"Tested: {pairs}.", ""]
        lines += [*settings(experiment, dataset, set(table["method"])), ""]
        if without := [arm for arm in experiment.arms if arm not in set(table["method"])]:
            lines += [f"Not run: {', '.join(without)}.", ""]
        if runs := sorted(file.parent.glob(f"{file.stem}*.json")):
            links = ", ".join(f"[{run.name}](data/{run.name})" for run in runs)
            lines += [line for note in diverged_text(diverged(runs)) for line in (note, "")]
            lines += [f"Versions, hyper-parameters, seeds and hashes of the data: {links}.", ""]
        if file.with_suffix(".png").is_file():
            lines += [f"![{experiment.title}](data/{file.stem}.png)", ""]
    return "\n".join(lines)


def diverged(runs: list[Path]) -> Counter[str]:
    """Row to the number of its fits that diverged, by the records of the runs."""
    fits = [fit for run in runs for fit in json.loads(run.read_text())["fits"]]
    return Counter(fit["method"] for fit in fits if fit["stopped_by"] == DIVERGED)


def settings(experiment: Experiment, dataset: str, done: set[str]) -> list[str]:
    """Where the settings of the rows come from: the records of their presets, equal ones together."""
    origins: dict[str, list[str]] = {}
    trials = set()
    for row, arm in experiment.arms.items():
        if row in done:
            record = preset_record(arm.method, dataset, experiment.split) or "the defaults of the method."
            text = f"{record['tuned']}; {record['criterion']}." if isinstance(record, dict) else record
            origins.setdefault(text, []).append(row)
            if search_space(make(arm.method)):
                trials.add(record.get("trials") if isinstance(record, dict) else None)
    equal = len(trials) == 1 and None not in trials
    search = f"{trials.pop()} trials for every row with something to search" if equal else "rows searched unequally"
    return [f"Settings, {search}:", "", *(f"- {', '.join(rows)}: {text}" for text, rows in origins.items())]


def markdown(table: pd.DataFrame) -> list[str]:
    """A row per method and origin of its figures, a column per test and metric."""
    columns = list(table[["test", "metric"]].drop_duplicates().itertuples(index=False))
    heads = [f"{metric_label(metric)}, {test}" for test, metric in columns]
    lines = [f"| row | | {' | '.join(heads)} |", f"|---|---|{'---|' * len(columns)}"]
    for (part, method), own in table.groupby(["part", "method"], sort=False):
        cells = own.set_index(["test", "metric"])
        for origin, mean, sd in FIGURES:
            texts = [text(cells, tuple(column), mean, sd) for column in columns]
            if any(texts):
                label = f"{method} {part}".strip() if origin == "ours" else ""
                lines.append(f"| {label} | {origin} | {' | '.join(texts)} |")
    return lines


def text(cells: pd.DataFrame, column: tuple[str, str], mean: str, sd: str) -> str:
    """One figure with its spread, marked where ours differs from what it is tested against."""
    if column not in cells.index:
        return ""
    cell = cells.loc[[column]].iloc[0]
    mark = ""
    if mean == "mean" and cell["p_value"] < 0.05:
        mark = " \\*above" if cell["difference"] > 0 else " \\*below"
    return with_spread(cell[mean], cell[sd]) + mark


def main(argv: list[str] | None = None, pages: Path = PAGES) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of `debiasrec experiment` to take over")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when a page is out of date")
    options = parser.parse_args(argv)
    if not options.check:
        for run in options.runs:
            take_over(run, pages)
    texts = written(pages)
    stale = [path for path, content in texts.items() if not path.is_file() or path.read_text() != content]
    if options.check:
        for path in stale:
            print(f"{path.name} is out of date: run tools/results_pages.py", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(texts[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
