"""Seconds per training epoch of every method, against the same epoch in plain torch.

Run it: python -m debiasrec.benchmarks.methods.bench_epoch --root FOLDER [--data coat yahoo_r3] [--only METHOD ...]

FOLDER holds the folders coat and yahoo_r3. The other side takes the same steps the way published programs do: every
pair of a block listed, assumed steps differentiated twice, autograd (`plain_operators`). Where its epoch is long only a
part of it is run, and the time scaled to the whole by the pairs in the batches; the table says how much was run.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import debiasrec
from debiasrec.data import Split
from debiasrec.errors import DebiasRecWarning
from debiasrec.methods import REGISTRY, Trained, preset
from debiasrec.methods.implicit import Clicks
from debiasrec.methods.options import ranges
from debiasrec.report.atomic import write_atomically
from debiasrec.training.loader import Batch

from ..harness import UnequalResults, summary
from ..machine import provenance
from ..plain_operators import plain_torch

# CJMF has a benchmark of its own: its other side is a loop over models.
METHODS = [name for name, cls in REGISTRY.items() if issubclass(cls, Trained) and name != "cjmf"]
SPLITS = dict.fromkeys(
    ("mf_ips_ltd", "mf_dr_ltd", "nf", "nf_ips", "nf_dr", "nf_ips_ltd", "nf_dr_ltd", "pmf_nmar"), "ltd"
)
SPLITS |= {name: "implicit" for name in METHODS if issubclass(REGISTRY[name], Clicks)}
LATE = 1_000_000  # an epoch in which every part of a method trains
TOLERANCE = 1e-3


@dataclass(frozen=True)
class EpochResult:
    """Seconds per epoch: the median and the quantiles of ours, and of the other side scaled to a whole epoch."""

    data: str
    method: str
    settings: str
    rounds: int
    p20: float
    p50: float
    p80: float
    plain_p20: float
    plain_p50: float
    plain_p80: float
    plain_steps: int
    plain_share: float

    @property
    def ratio(self) -> float:
        return self.plain_p50 / self.p50


class Side:
    """A method that is about to train, and its batches."""

    def __init__(self, name: str, split: Split, options: dict[str, Any]) -> None:
        self.method: Any = debiasrec.methods.make(name, **options)
        self.loader = self.method._start(split, "cpu")
        self.method.begin_epoch(LATE)
        self.epochs = 0

    def first_loss(self) -> float:
        """The loss of the first step."""
        return float(self.method.step(next(iter(self.method.loader_of(self.loader, 1).epoch(1)))))

    def epoch(self) -> float:
        """The seconds of a whole epoch."""
        self.epochs += 1
        begin = time.perf_counter()
        self.method.epoch(self.loader, self.epochs)
        return time.perf_counter() - begin

    def part(self, limit: float) -> tuple[float, int, float]:
        """Steps of an epoch for `limit` seconds: the seconds of a whole one, the steps taken, their share of it."""
        self.epochs += 1
        loader = self.method.loader_of(self.loader, self.epochs)
        total = sum(_work(batch) for batch in loader.epoch(self.epochs))
        done = steps = 0
        begin = time.perf_counter()
        batches = iter(loader.epoch(self.epochs))
        batch = next(batches)
        fixed = time.perf_counter() - begin  # the order of an epoch is made once, however many steps are measured
        while batch is not None:
            self.method.step(batch)
            done, steps = done + _work(batch), steps + 1
            if time.perf_counter() - begin > limit:
                break
            batch = next(batches, None)
        share = done / total
        return fixed + (time.perf_counter() - begin - fixed) / share, steps, share


def _work(batch: Batch) -> int:
    return len(batch) if batch.block is None else len(batch.block[0]) * len(batch.block[1])


def settings_of(name: str, split: Split) -> tuple[dict[str, Any], str]:
    """The preset of the data, or the defaults; teachers that would be fitted first get one epoch."""
    options = preset(name, split.dataset.name, split.name)
    label = "preset" if options else "defaults"
    for option, range_ in ranges(REGISTRY[name]).items():
        value = options.get(option, getattr(REGISTRY[name], option))
        if isinstance(value, str) and value in METHODS and not range_.choices:
            short = {**preset(value, split.dataset.name, split.name), "max_epochs": 1}
            options[option] = debiasrec.methods.make(value, **short)
    return options, label


def measure(name: str, split: Split, *, rounds: int, limit: float) -> EpochResult:
    """Check that the first step of both sides is the same, then time both in turns.

    Args:
        name: a trained method.
        split: what it trains on.
        rounds: epochs of ours; the other side takes part in every third.
        limit: seconds after which a part of the other side's epoch is enough.

    Raises:
        UnequalResults: the losses of the first step differ.
    """
    options, label = settings_of(name, split)
    ours, plain = Side(name, split, options), Side(name, split, options)
    first = ours.first_loss()
    with plain_torch():
        expected = plain.first_loss()
    if abs(first - expected) > TOLERANCE * abs(expected):
        raise UnequalResults(f"{name}: the first step has loss {first:g}, in plain torch {expected:g}")
    own, other = [], []
    for turn in range(rounds):
        own.append(ours.epoch())
        if turn % 3 == 0:
            with plain_torch():
                other.append(plain.part(limit))
    mine, theirs = summary(own), summary([seconds for seconds, _, _ in other])
    times = (mine.p20, mine.p50, mine.p80, theirs.p20, theirs.p50, theirs.p80)
    return EpochResult(split.dataset.name, name, label, rounds, *times, other[-1][1], other[-1][2])


def line(result: EpochResult) -> str:
    """One row of the table."""
    share = "whole epochs" if result.plain_share == 1 else f"{result.plain_steps} steps, {result.plain_share:.0%}"
    return (
        f"{result.data:10}{result.method:16}{result.p50:10.4f} s{result.plain_p50:12.4f} s{result.ratio:9.1f}x  "
        f"{result.settings}; plain: {share}"
    )


def write(path: Path, results: Sequence[EpochResult]) -> None:
    """Put the results into a CSV file, with what they were measured on, in place of older ones of the same methods."""
    stamp = provenance("cpu")
    rows = pd.DataFrame([{**stamp, **asdict(result), "ratio": result.ratio} for result in results])
    if path.exists():
        rows = pd.concat([pd.read_csv(path), rows]).drop_duplicates(["data", "method"], keep="last")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, rows.to_csv(index=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a row per method, and write epochs.csv."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder with the folders coat and yahoo_r3; not for simulated")
    parser.add_argument("--data", nargs="+", default=["coat", "yahoo_r3"], help="default: coat yahoo_r3")
    parser.add_argument("--only", nargs="+", default=METHODS, choices=METHODS, metavar="METHOD")
    parser.add_argument("--quick", action="store_true", help="three rounds, at most half a second of plain torch each")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"), help="folder for epochs.csv")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore", DebiasRecWarning)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    effort = {"rounds": 3, "limit": 0.5} if options.quick else {"rounds": 15, "limit": 4.0}
    results = []
    try:
        for data_name in options.data:
            root = None if data_name == "simulated" or options.root is None else options.root / data_name
            data = debiasrec.load(data_name, root=root)
            for name in options.only:
                results.append(measure(name, data.split(SPLITS.get(name, "autodebias"), 0), **effort))
                print(line(results[-1]), flush=True)
    finally:
        torch.set_num_threads(before)
    write(options.out / "epochs.csv", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
