"""Measures the operators: `debiasrec bench`, or `python -m debiasrec.benchmarks.run`."""

from __future__ import annotations

import argparse
import difflib
import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch._dynamo.exc import TorchDynamoException

from debiasrec.report.atomic import write_atomically

from . import ops
from .figure import ratios_png
from .harness import FEWEST, OURS, Benchmark, Case, Settings, Timing, check_equal, measure
from .machine import copy_bandwidth, peak_bytes, provenance
from .results import Result, append_csv, largest
from .table import report

GROWTH = (8, 4, 2)  # divisors of the full size, before the full size itself
WIDTH = 100


@dataclass(frozen=True)
class Plan:
    """How much is measured: sizes times `factor`, about `seconds` of timing per benchmark at its largest size."""

    settings: Settings
    factor: float
    seconds: float

    @property
    def full_size(self) -> bool:
        return self.factor == 1


def all_benchmarks() -> dict[str, Benchmark]:
    """Every benchmark of every `ops/bench_*.py`."""
    names = [module.name for module in pkgutil.iter_modules(ops.__path__) if module.name.startswith("bench_")]
    modules = [importlib.import_module(f"{ops.__name__}.{name}") for name in sorted(names)]
    return {benchmark.name: benchmark for module in modules for benchmark in module.BENCHMARKS}


def chosen(names: Sequence[str] | None) -> list[Benchmark]:
    """The benchmarks called so, or whose operator is called so; all without names.

    Raises:
        ValueError: naming the nearest known name.
    """
    known = all_benchmarks()
    if names is None:
        return list(known.values())
    picked: dict[str, Benchmark] = {}
    for name in names:
        found = {key: value for key, value in known.items() if key == name or key.startswith(f"{name}_")}
        if not found:
            near = difflib.get_close_matches(name, known, 1) or sorted(known)
            raise ValueError(f"--only {name}: no such benchmark; did you mean {' or '.join(near)}?")
        picked |= found
    return list(picked.values())


def run_benchmark(benchmark: Benchmark, plan: Plan, notes: list[str]) -> list[Result]:
    """Our time at the fewest rows and at three smaller sizes, then every alternative at the full one.

    Raises:
        UnequalResults: an alternative that computes something else.
    """
    rows = max(8 * FEWEST, round(benchmark.rows * plan.factor))
    copy, peak = copy_bandwidth(plan.settings.device), None
    results: list[Result] = []
    for size in [FEWEST, *(rows // divisor for divisor in GROWTH), rows]:
        case = benchmark.build(size, plan.settings)
        if size == rows:
            if benchmark.peak_bytes is not None:
                peak = peak_bytes(case.alternatives[OURS], plan.settings.device)
            if plan.settings.compiled:
                case = runnable(case, benchmark.name, notes)
            check_equal(case)
            timings = measure(case, plan.seconds, plan.settings.device)
        else:
            alone = replace(case, alternatives={OURS: case.alternatives[OURS]})
            timings = measure(alone, plan.seconds / 20, plan.settings.device)
        results += [_result(benchmark, size, name, timings, case, copy, peak) for name in timings]
    return results


def runnable(case: Case, name: str, notes: list[str]) -> Case:
    """Leaves out what torch.compile can't compile here, with a note: it needs a C++ compiler, which users may lack."""
    kept = {}
    for alternative, run in case.alternatives.items():
        try:
            run()
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            notes.append(f"{name}: {alternative} left out, since it failed to compile ({reason})")
        else:
            kept[alternative] = run
    return replace(case, alternatives=kept)


def _result(
    benchmark: Benchmark,
    size: int,
    name: str,
    timings: dict[str, Timing],
    case: Case,
    copy: float,
    peak: int | None,
) -> Result:
    timing, goal = timings[name], benchmark.goals.get(name)
    return Result(
        name=benchmark.name,
        work=benchmark.work,
        size=size,
        alternative=name,
        repeats=timing.repeats,
        p20=timing.p20,
        p50=timing.p50,
        p80=timing.p80,
        ratio=timing.p50 / timings[OURS].p50,
        must=goal.must if goal else None,
        aim=goal.aim if goal else None,
        bytes_per_s=case.bytes_moved / timing.p50,
        copy_bytes_per_s=copy,
        peak_bytes=peak if name == OURS else None,
        most_bytes=benchmark.peak_bytes,
    )


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="debiasrec bench",
        description="Times each operator against plain torch, torch.compile of it, and the libraries one would use "
        "instead: equal results are checked first, then interleaved rounds in this process.",
        epilog="Examples: debiasrec bench --quick | debiasrec bench --only mf_score ips_loss --threads 1",
    )
    parse.add_argument("--quick", action="store_true", help="smaller sizes, no torch.compile: about 80 seconds")
    parse.add_argument("--only", nargs="+", metavar="NAME", help="benchmarks or operators, e.g. ips_loss mf_score")
    parse.add_argument("--threads", type=int, default=2, help="of torch, fixed for the run (default: 2)")
    parse.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parse.add_argument(
        "--out", type=Path, default=Path("results/benchmarks"), metavar="DIR",
        help="benchmarks.csv there gets a row per timing, benchmarks.png the ratios (default: results/benchmarks)",
    )  # fmt: skip
    return parse


def main(argv: Sequence[str] | None = None, *, size_factor: float | None = None) -> int:
    """Measures, prints the table, appends to the CSV file and draws the figure.

    Args:
        argv: the arguments; `sys.argv[1:]` when not given.
        size_factor: multiplies every size and the time given to each; by default 1, with --quick 1/4.

    Returns:
        0. A goal that was missed is for the reader to see, not an error: timings depend on the machine.

    Raises:
        ValueError: an unknown benchmark, no CUDA device, a file of another kind, or unequal results.
    """
    options = parser().parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this torch sees no CUDA device (python -m debias_ext.doctor says why)")
    if options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    benchmarks = chosen(options.only)
    factor = size_factor or (0.25 if options.quick else 1.0)
    settings = Settings(options.device, compiled=not options.quick, scale=factor)
    plan = Plan(settings, factor, seconds=min(6.0, (0.3 if options.quick else 6.0) * (size_factor or 1)))
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        return _measure_all(benchmarks, plan, options.out)
    finally:
        torch.set_num_threads(before)


def _measure_all(benchmarks: Sequence[Benchmark], plan: Plan, out: Path) -> int:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    started = time.perf_counter()
    stamp = provenance(plan.settings.device)
    results: list[Result] = []
    notes: list[str] = []
    for position, benchmark in enumerate(benchmarks, 1):
        console.print(f"[{position}/{len(benchmarks)}] {benchmark.name}", markup=False, highlight=False)
        results += run_benchmark(benchmark, plan, notes)
    if not plan.full_size:
        notes.append("Smaller sizes than the full run, for which must and aim are set: no verdict.")
    main_results = largest(results)
    facts = (
        f"debias_ext {stamp['version']}, torch {stamp['torch']}, {stamp['device']}, {stamp['cpu']}, {stamp['simd']}, "
        f"{stamp['threads']} thread(s); copy {main_results[0].copy_bytes_per_s / 1e9:.0f} GB/s"
        f"{'' if plan.full_size else '; smaller sizes than those of the goals'}"
    )
    files = write_files(out, results, ratios_png(main_results, facts), stamp, notes)
    console.print(report(results, [*notes, facts], full_size=plan.full_size))
    console.print(f"{time.perf_counter() - started:.0f} s. Files: {', '.join(map(str, files))}", highlight=False)
    return 0


def write_files(
    out: Path, results: Sequence[Result], picture: bytes | None, stamp: dict[str, str | int], notes: list[str]
) -> list[Path]:
    table = out / "benchmarks.csv"
    append_csv(table, results, stamp)
    if picture is None:
        notes.append("No figure: matplotlib is not installed (pip install 'debias-ext[plot]').")
        return [table]
    return [table, write_atomically(out / "benchmarks.png", picture)]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as problem:
        sys.exit(f"error: {problem}")
