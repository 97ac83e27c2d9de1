#!/usr/bin/env python3
"""Writes benchmarks/cuda_roofline.md: occupancy of every CUDA kernel by architecture, and predicted times.

Registers and shared memory come from benchmarks/results/cuda_resources.csv (tools/cuda_resources.py), block sizes from
the sources, bytes and operations from tools/cuda_work.py. With --check nothing is written: the status is 1 when the
page is not what these say. No GPU is needed, and nothing here is measured on one.
"""

from __future__ import annotations

import argparse
import ast
import csv
import operator
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuda_work import Work, all_work

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "benchmarks" / "results" / "cuda_resources.csv"
PAGE = ROOT / "benchmarks" / "cuda_roofline.md"

H100_BYTES, H100_FLOAT, H100_DOUBLE, LAUNCH = 3.35e12, 67e12, 34e12, 3e-6  # per second; seconds
DEFAULT_THREADS = 256  # of kernels without launch bounds


@dataclass(frozen=True)
class Limits:
    """Of a multiprocessor. Registers are 65,536 everywhere, given to warps in units of 256, four warps at a time."""

    threads: int
    blocks: int
    shared_bytes: int
    reserved_bytes: int  # of shared memory, by block
    shared_unit: int


LIMITS = {
    "sm_75": Limits(1024, 16, 64 << 10, 0, 256),
    "sm_80": Limits(2048, 32, 164 << 10, 1024, 128),
    "sm_86": Limits(1536, 16, 100 << 10, 1024, 128),
    "sm_89": Limits(1536, 24, 100 << 10, 1024, 128),
    "sm_90": Limits(2048, 32, 228 << 10, 1024, 128),
    "sm_100": Limits(2048, 32, 228 << 10, 1024, 128),
    "sm_120": Limits(1536, 24, 100 << 10, 1024, 128),
}
REGISTERS, REGISTER_UNIT, WARP, WARP_UNIT = 65_536, 256, 32, 4


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def occupancy(limits: Limits, threads: int, registers: int, shared_bytes: int) -> float:
    """Resident warps over the most there can be; 0 where a block does not fit."""
    warps = -(-threads // WARP)
    by_registers = REGISTERS // round_up(max(registers, 1) * WARP, REGISTER_UNIT) // WARP_UNIT * WARP_UNIT // warps
    shared = round_up(shared_bytes + limits.reserved_bytes, limits.shared_unit)
    by_shared = limits.shared_bytes // shared if shared else limits.blocks
    blocks = min(limits.blocks, limits.threads // (warps * WARP), by_registers, by_shared)
    return blocks * warps * WARP / limits.threads


KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\(([^,)]*)[^)]*\)\s*)?(\w+)\s*\(")
CONSTANT = re.compile(r"constexpr\s+(?:unsigned|int|int64_t)\s+([^;]*);")
INCLUDE = re.compile(r'#include "([^"]+)"')


def constants(path: Path) -> dict[str, str]:
    """Integer constants of a file and of the project's headers that it includes: name -> expression."""
    text = path.read_text()
    found: dict[str, str] = {}
    for name in INCLUDE.findall(text):
        if (ROOT / "csrc" / name).exists():
            found |= constants(ROOT / "csrc" / name)
    for group in CONSTANT.findall(text):
        found |= dict(re.findall(r"(\w+)\s*=\s*([^,]+)", group))
    return found


OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv}


def value_of(expression: str, known: Mapping[str, str]) -> int:
    """The value of an expression of integers and known constants."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name) and node.id in known:
            return value_of(known[node.id], known)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"cannot read the launch bounds {expression!r}")

    try:
        return value(ast.parse(expression.strip(), mode="eval").body)
    except SyntaxError:
        raise ValueError(f"cannot read the launch bounds {expression!r}") from None


def block_sizes() -> dict[str, int]:
    """Threads of a block by kernel name, the largest where a name occurs twice."""
    sizes: dict[str, int] = {}
    for path in sorted([*ROOT.glob("csrc/*/*.cu"), *ROOT.glob("csrc/*/*.cuh")]):
        known = constants(path)
        for bounds, name in KERNEL.findall(path.read_text()):
            sizes[name] = max(value_of(bounds, known) if bounds else DEFAULT_THREADS, sizes.get(name, 0))
    return sizes


def plain_name(kernel: str) -> str:
    return kernel.split("<", 1)[0].rsplit("::", 1)[-1]


@dataclass(frozen=True)
class Resources:
    registers: int
    shared_bytes: int


def heaviest(path: Path) -> dict[str, dict[str, Resources]]:
    """Kernel -> arch -> most registers and most static shared memory of its variants that compute in float32."""
    found: dict[str, dict[str, Resources]] = {}
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if "double" in row["kernel"]:
                continue
            by_arch = found.setdefault(plain_name(row["kernel"]), {})
            old = by_arch.get(row["arch"], Resources(0, 0))
            by_arch[row["arch"]] = Resources(
                max(old.registers, int(row["registers"])), max(old.shared_bytes, int(row["shared_bytes"]))
            )
    return found


def occupancy_table(kernels: Mapping[str, Mapping[str, Resources]], sizes: Mapping[str, int]) -> list[str]:
    lines = [f"| kernel | threads | registers, shared bytes (sm_90) | {' | '.join(LIMITS)} |"]
    lines.append("|---|---:|---:|" + "---:|" * len(LIMITS))
    for name, by_arch in sorted(kernels.items()):
        threads = sizes.get(name, DEFAULT_THREADS)
        shares = [
            f"{occupancy(limits, threads, by_arch[arch].registers, by_arch[arch].shared_bytes):.0%}"
            if arch in by_arch
            else ""
            for arch, limits in LIMITS.items()
        ]
        shown = by_arch.get("sm_90", Resources(0, 0))
        lines.append(f"| `{name}` | {threads} | {shown.registers}, {shown.shared_bytes:,} | {' | '.join(shares)} |")
    return lines


def predicted(work: Work) -> tuple[float, str]:
    """Seconds on an H100, and what they are bound by."""
    parts = {
        "memory": work.bytes_moved / H100_BYTES,
        "arithmetic": work.operations / (H100_DOUBLE if work.double else H100_FLOAT),
        "launches": work.launches * LAUNCH,
    }
    return max(parts["memory"], parts["arithmetic"]) + parts["launches"], max(parts, key=lambda name: parts[name])


def quantity(value: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.3g} "


def work_table(work: Sequence[Work]) -> list[str]:
    lines = ["| operator | size | bytes | operations | launches | predicted | bound by |"]
    lines.append("|---|---|---:|---:|---:|---:|---|")
    for one in work:
        seconds, bound = predicted(one)
        kind = " (float64)" if one.double else ""
        lines.append(
            f"| {one.operator} | {one.size} | {quantity(one.bytes_moved)}B | {quantity(one.operations).strip()}{kind} "
            f"| {one.launches} | {1e6 * seconds:,.0f} us | {bound} |"
        )
    return lines


HEAD = """\
# CUDA kernels: occupancy and roofline

**Predicted, not measured.** Written by `tools/cuda_roofline.py`; no number on this page comes from a GPU.

## Predicted times on an H100

The least bytes over 3.35 TB/s or the operations over 67 TFLOP/s (34 in float64), whichever takes longer, and 3 us a
launch. Bytes are read once and written once; sorts that torch does are left out. A kernel that gathers scattered rows,
or that has too few blocks for the device, takes longer; how much longer only a measurement can say. Formulas:
`tools/cuda_work.py`.
"""
MIDDLE = """
## Occupancy

Resident warps over the most a multiprocessor holds, for the float32 variant with the most registers: from registers,
static shared memory (`results/cuda_resources.csv`) and the block size of the launch bounds (256 threads where there are
none). Dynamic shared memory depends on the arguments and is not in it.
"""


def page(kernels: Mapping[str, Mapping[str, Resources]], sizes: Mapping[str, int], work: Sequence[Work]) -> str:
    return "\n".join([HEAD, *work_table(work), MIDDLE, *occupancy_table(kernels, sizes), ""])


def unknown_kernels(work: Iterable[Work], sizes: Mapping[str, int]) -> list[str]:
    """Kernels that the work table names and no source has."""
    return sorted({name for one in work for name in one.kernels} - set(sizes))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the page is out of date")
    check = parser.parse_args(argv).check
    sizes, work = block_sizes(), all_work()
    if missing := unknown_kernels(work, sizes):
        print(f"tools/cuda_work.py names kernels that no source has: {', '.join(missing)}", file=sys.stderr)
        return 1
    text = page(heaviest(RESOURCES), sizes, work)
    if not check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print(f"{PAGE.relative_to(ROOT)} is out of date: run tools/cuda_roofline.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
