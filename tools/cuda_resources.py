#!/usr/bin/env python3
"""Registers, shared memory, stack and spills of every CUDA kernel on every supported architecture.

Compiles csrc/**/*_cuda.cu with nvcc, warnings as errors, and writes benchmarks/results/cuda_resources.csv.
With --check that file stays as it is: the status is 1 when a kernel spills that is not in ALLOWED_SPILLS, or when the
file is out of date. No GPU is needed. What the build of the package has compiled since a file changed is not compiled
again: its reports lie beside its objects. Others are kept in build/cuda_resources, by what they depend on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
CACHE = ROOT / "build" / "cuda_resources"
REPORT = ROOT / "benchmarks" / "results" / "cuda_resources.csv"
ARCHS = ("75", "80", "86", "89", "90", "100", "120")
NVCC_FLAGS = ("-O3", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v", "-Xcompiler", "-Wall", f"-I{CSRC}")
COLUMNS = ("kernel", "arch", "registers", "shared_bytes", "spill_store_bytes", "spill_load_bytes", "stack_bytes")

# Part of a kernel's name: why its spills are accepted.
ALLOWED_SPILLS: dict[str, str] = {}

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)
SHARED = re.compile(r"(\d+) bytes smem")
# The name nvcc gives to an unnamed namespace holds a hash of the file's path.
UNNAMED = re.compile(r"_(?:GLOBAL__N_|INTERNAL)_\w*_cu_[0-9a-f]{8}(?:_\d+)?|\(anonymous namespace\)")

Row = tuple[str, str, int, int, int, int, int]


def find_nvcc() -> str | None:
    """nvcc in CUDA_HOME, /usr/local/cuda or PATH."""
    for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda"):
        if home and (Path(home) / "bin" / "nvcc").is_file():
            return str(Path(home) / "bin" / "nvcc")
    return shutil.which("nvcc")


def demangle(names: Iterable[str]) -> dict[str, str]:
    """Symbol to readable name, without the parameter list and the name of unnamed namespaces."""
    symbols = sorted(set(names))
    text = subprocess.run(["c++filt", "-p", *symbols], capture_output=True, text=True, check=True).stdout
    readable = [UNNAMED.sub("", line).replace("::::", "::") for line in text.splitlines()]
    return {symbol: line.split("void ", 1)[-1] for symbol, line in zip(symbols, readable, strict=True)}


def parse(report: str) -> list[Row]:
    """Rows of one `ptxas -v` report, the kernels by their symbols."""
    rows: list[Row] = []
    entry: tuple[str, str] | None = None
    frame = (0, 0, 0)
    for line in report.splitlines():
        if match := ENTRY.search(line):
            entry = (match[1], match[2])
        elif match := FRAME.search(line):
            frame = (int(match[1]), int(match[2]), int(match[3]))
        elif entry and (match := USED.search(line)):
            shared = SHARED.search(line)
            rows.append((*entry, int(match[1]), int(shared[1]) if shared else 0, frame[1], frame[2], frame[0]))
            entry = None
    return rows


def with_headers(source: Path) -> set[Path]:
    """The file and the headers of the project that it includes, directly or not."""
    found: set[Path] = set()
    todo = [source]
    while todo:
        path = todo.pop()
        if path not in found and path.exists():
            found.add(path)
            todo += [CSRC / name for name in INCLUDE.findall(path.read_text())]
    return found


def report_key(nvcc: str, source: Path) -> str:
    """Changes with everything the report depends on."""
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256(repr((version, NVCC_FLAGS, ARCHS)).encode())
    for path in sorted(with_headers(source)):
        key.update(str(path.relative_to(CSRC)).encode() + b"\0" + path.read_bytes())
    return key.hexdigest()


def build_report(source: Path) -> str | None:
    """The report of a build of the package that is younger than all it depends on, and has every arch."""
    youngest = max(path.stat().st_mtime for path in (*with_headers(source), ROOT / "setup.py"))
    for path in (ROOT / "build").glob(f"objects-*/{source.relative_to(CSRC)}.o.ptxas"):
        text = path.read_text()
        complete = {arch for _, arch in ENTRY.findall(text)} == {f"sm_{arch}" for arch in ARCHS}
        if complete and path.stat().st_mtime > youngest:
            return text
    return None


def compiler_report(nvcc: str, source: Path) -> str:
    """What ptxas says about the kernels of one file, from a build or the cache where nothing has changed."""
    built = build_report(source)
    if built is not None:
        return built
    cached = CACHE / f"{report_key(nvcc, source)}.txt"
    if cached.exists():
        return cached.read_text()
    with tempfile.TemporaryDirectory() as folder:
        targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in ARCHS]
        command = [nvcc, *NVCC_FLAGS, *targets, "-c", str(source), "-o", f"{folder}/kernels.o"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{source.relative_to(ROOT)} does not compile\n{done.stdout}{done.stderr}")
    CACHE.mkdir(parents=True, exist_ok=True)
    cached.write_text(done.stdout + done.stderr)
    return done.stdout + done.stderr


def measure(nvcc: str) -> list[Row]:
    """One row per kernel and architecture, sorted."""
    with ThreadPoolExecutor(2) as pool:
        reports = pool.map(lambda source: compiler_report(nvcc, source), sorted(CSRC.rglob("*_cuda.cu")))
        rows = [row for report in reports for row in parse(report)]
    names = demangle(row[0] for row in rows)
    return sorted(
        ((names[row[0]], *row[1:]) for row in rows), key=lambda row: (row[0], int(row[1].removeprefix("sm_")))
    )


def unexpected_spills(rows: Iterable[Row]) -> list[str]:
    """A sentence per kernel that spills and is not in ALLOWED_SPILLS."""
    return [
        f"{row[0]} on {row[1]} spills: {row[4]} bytes of stores, {row[5]} bytes of loads"
        for row in rows
        if row[4] + row[5] > 0 and not any(name in row[0] for name in ALLOWED_SPILLS)
    ]


def write(rows: Iterable[Row]) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def differences(rows: Iterable[Row]) -> list[str]:
    """Lines that the file lacks (+) or has too many (-)."""
    fresh = {tuple(map(str, row)) for row in rows}
    stored: set[tuple[str, ...]] = set()
    if REPORT.exists():
        with REPORT.open(newline="") as stream:
            stored = {tuple(row) for row in list(csv.reader(stream))[1:]}
    lines = [f"+ {','.join(row)}" for row in sorted(fresh - stored)]
    return lines + [f"- {','.join(row)}" for row in sorted(stored - fresh)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file and look for spills; write nothing")
    check = parser.parse_args().check
    nvcc = find_nvcc()
    if nvcc is None:
        print("nvcc was not found in CUDA_HOME, /usr/local/cuda or PATH", file=sys.stderr)
        return 2
    rows = measure(nvcc)
    problems = unexpected_spills(rows)
    if not check:
        write(rows)
        print(f"{len(rows)} rows in {REPORT.relative_to(ROOT)}")
    elif changed := differences(rows):
        problems += [f"{REPORT.relative_to(ROOT)} is out of date: run tools/cuda_resources.py", *changed[:10]]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
