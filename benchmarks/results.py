"""One line per timing, and the CSV file that collects them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .harness import OURS, Goal, Timing

PROVENANCE = ("timestamp", "version", "torch", "python", "cpu", "simd", "threads", "device")


@dataclass(frozen=True)
class Result:
    """The timing of one alternative at one size, in seconds.

    `ratio` is its median over ours, `bytes_per_s` the least traffic of the work over its median, `peak_bytes` the most
    memory that a call took beside its inputs, where there is a limit to it.
    """

    name: str
    work: str
    size: int
    alternative: str
    repeats: int
    p20: float
    p50: float
    p80: float
    ratio: float
    must: float | None
    aim: float | None
    bytes_per_s: float
    copy_bytes_per_s: float
    peak_bytes: int | None = None
    most_bytes: int | None = None

    @property
    def timing(self) -> Timing:
        return Timing(self.p20, self.p50, self.p80, self.repeats)

    @property
    def ours(self) -> bool:
        return self.alternative == OURS

    @property
    def goal(self) -> Goal | None:
        return None if self.must is None else Goal(self.must, self.aim)

    @property
    def verdict(self) -> str:
        """Whether the ratio, or the memory, is what it has to be."""
        if self.peak_bytes is not None and self.most_bytes is not None:
            return "met" if self.peak_bytes < self.most_bytes else "MISSED"
        if self.must is None:
            return ""
        if self.ratio < self.must:
            return "MISSED"
        return "aim met" if self.aim is not None and self.ratio >= self.aim else "met"


COLUMNS = (*PROVENANCE, *(field.name for field in fields(Result)))


def append_csv(path: Path, results: Sequence[Result], provenance: dict[str, str | int]) -> None:
    """Adds the results to the file, which is made when missing.

    Raises:
        ValueError: the file is no collection of benchmark results.
    """
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        with path.open(newline="") as file:
            header = next(csv.reader(file), [])
        if header != list(COLUMNS):
            raise ValueError(f"{path} has other columns than this version writes: move it away, or give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        writer.writerows({**provenance, **asdict(result)} for result in results)


def read_csv(path: Path) -> list[Result]:
    """What `append_csv` wrote, without the provenance."""
    integers = dict.fromkeys(("size", "repeats", "peak_bytes", "most_bytes"), int)
    number = {**integers, "name": str, "work": str, "alternative": str}
    with path.open(newline="") as file:
        return [
            Result(**{
                field.name: number.get(field.name, float)(row[field.name]) if row[field.name] else None
                for field in fields(Result)
            })
            for row in csv.DictReader(file)
        ]  # fmt: skip


def largest(results: Sequence[Result]) -> list[Result]:
    """Those at the largest size of their benchmark."""
    sizes: dict[str, int] = {}
    for result in results:
        sizes[result.name] = max(result.size, sizes.get(result.name, 0))
    return [result for result in results if result.size == sizes[result.name]]
