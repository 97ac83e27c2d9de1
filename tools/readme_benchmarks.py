#!/usr/bin/env python3
"""Writes the table of benchmarks in README.md from benchmarks/results/benchmarks.csv.

The last timing of each benchmark and alternative counts. With --check nothing is written: the status is 1 when the
table is not what the file says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from debiasrec.benchmarks.harness import FEWEST
from debiasrec.benchmarks.results import Result, largest, read_csv
from debiasrec.benchmarks.table import memory

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "benchmarks.csv"
BEGIN, END = "<!-- benchmarks: written by tools/readme_benchmarks.py -->", "<!-- end of benchmarks -->"


def ratio(result: Result) -> str:
    """The ratio, the goal, and what is wrong with them."""
    digits = f"{result.ratio:.2g}" if result.ratio < 100 else f"{result.ratio:,.0f}"
    text = f"{digits}x"
    if result.must is not None:
        text += f" (goal {result.must:g}x{', missed' if result.ratio < result.must else ''})"
    return f"{text} ~" if result.timing.noisy else text


def size(result: Result) -> str:
    return f"{result.size:,} rows: {result.work}"


def table(results: Sequence[Result]) -> str:
    """A row per benchmark: its work, our time, what bounds it, and each alternative with its ratio."""
    last = {(result.name, result.alternative): result for result in largest(results)}
    calls = {result.name: result for result in results if result.ours and result.size == FEWEST}
    lines = ["| operator | work | ours | of copy | a call | against |", "|---|---|---|---|---|---|"]
    for ours in sorted((result for result in last.values() if result.ours), key=lambda result: result.name):
        others = [result for result in last.values() if result.name == ours.name and not result.ours]
        against = "; ".join(f"{other.alternative} {ratio(other)}" for other in others)
        if ours.peak_bytes is not None:
            against = f"{memory(ours)}{', missed' if ours.verdict == 'MISSED' else ''}"
        of_copy = f"{ours.bytes_per_s / ours.copy_bytes_per_s:.0%}"
        call = f"{1e6 * calls[ours.name].p50:.0f} us"
        lines.append(f"| `{ours.name}` | {size(ours)} | {1e3 * ours.p50:.3g} ms | {of_copy} | {call} | {against} |")
    return "\n".join(lines)


def with_table(readme: str, text: str) -> str:
    """The page with the text between the two marks."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README} lacks the lines {BEGIN!r} and {END!r}")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the table is out of date")
    options = parser.parse_args(argv)
    page = README.read_text()
    written = with_table(page, table(read_csv(RESULTS)))
    if options.check:
        if written != page:
            print("README.md: the table of benchmarks is out of date: run tools/readme_benchmarks.py", file=sys.stderr)
        return int(written != page)
    README.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
