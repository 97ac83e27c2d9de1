"""Fair timings: equal results first, then interleaved rounds in one process, medians and their spread.

A file `ops/bench_<operator>.py` holds a list `BENCHMARKS`. Each `Benchmark` builds, for a number of rows, a `Case`:
named alternatives that do the same work over the same inputs, ours first.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

OURS = "debias_ext"
FEWEST = 2  # rows, for what a call costs however few there are; batch normalisation needs two
MIN_ROUNDS, MAX_ROUNDS = 7, 400
CHEAP_SECONDS = 0.1
NOISY = 1.5  # p80 / p20 beyond which a median deserves no trust


class UnequalResults(ValueError):
    """An alternative computes something else, so its time means nothing."""


@dataclass(frozen=True)
class Settings:
    """What a builder may need to know.

    Args:
        device: "cpu" or "cuda".
        compiled: include torch.compile of the reference.
        scale: multiplies what is not the number of rows (table sizes, say); 1 in a full run.
        seed: of every random input.
    """

    device: str = "cpu"
    compiled: bool = True
    scale: float = 1.0
    seed: int = 0

    def generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.seed)

    def scaled(self, count: int) -> int:
        return max(1, round(count * self.scale))


@dataclass(frozen=True)
class Goal:
    """How many times slower than ours an alternative has to be, and what we hope for."""

    must: float
    aim: float | None = None


@dataclass(frozen=True)
class Case:
    """Alternatives of equal work over the same inputs.

    Args:
        alternatives: name -> a call that does all the work and returns what is compared: tensors (dense or sparse),
            arrays, numbers, or lists and dicts of them. `OURS` comes first.
        bytes_moved: what the work has to read and write at least, in bytes.
        rtol: relative tolerance of the comparison.
        atol: absolute tolerance, as a share of the largest value.
        before: called before every timed call, and not timed: moves on to the next batch, say, so that no alternative
            finds in the cache what the one before it has read.
    """

    alternatives: Mapping[str, Callable[[], Any]]
    bytes_moved: int
    rtol: float = 1e-4
    atol: float = 1e-5
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Benchmark:
    """One line of the report.

    Args:
        name: unique, `<operator>` or `<operator>_<variant>`.
        work: what is done, in a few words.
        rows: the full size; ours is measured at 1/8, 1/4, 1/2 of it too, and at `FEWEST` rows.
        build: rows, settings -> Case.
        goals: alternative -> what the ratio must be.
        peak_bytes: the most memory that our call may take beside what was there before; None where nobody measures it.
    """

    name: str
    work: str
    rows: int
    build: Callable[[int, Settings], Case]
    goals: Mapping[str, Goal] = field(default_factory=dict)
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds per call."""

    p20: float
    p50: float
    p80: float
    repeats: int

    @property
    def noisy(self) -> bool:
        return self.p80 > NOISY * self.p20


def check_equal(case: Case) -> None:
    """Runs every alternative once, and compares it with ours.

    Args:
        case: at least two alternatives.

    Raises:
        UnequalResults: naming the alternative and the largest difference.
    """
    expected = flat(case.alternatives[OURS]())
    for name, run in case.alternatives.items():
        if name == OURS:
            continue
        got = flat(run())
        if len(got) != len(expected):
            raise UnequalResults(f"{name} returns {len(got)} values, {OURS} {len(expected)}")
        for position, (a, b) in enumerate(zip(expected, got, strict=True)):
            if a.shape != b.shape:
                raise UnequalResults(f"{name}: value {position} has shape {list(b.shape)}, expected {list(a.shape)}")
            finite = a[torch.isfinite(a)]
            atol = case.atol * float(finite.abs().max()) if finite.numel() else 0.0
            if not torch.allclose(a, b, rtol=case.rtol, atol=atol, equal_nan=True):
                off = float((a - b).abs().nan_to_num().max())
                raise UnequalResults(f"{name}: value {position} differs by up to {off:.3g} from {OURS}")


def flat(result: Any) -> list[Tensor]:
    """Everything that a call returned, as dense float64 tensors on the CPU; sparse ones as indices and values."""
    if isinstance(result, Mapping):
        return [tensor for key in sorted(result) for tensor in flat(result[key])]
    if isinstance(result, (list, tuple)):
        return [tensor for part in result for tensor in flat(part)]
    tensor = torch.as_tensor(np.asarray(result)) if not isinstance(result, Tensor) else result.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce()
        return flat([tensor.indices(), tensor.values()])
    return [tensor.cpu().double()]


def measure(case: Case, seconds: float, device: str = "cpu") -> dict[str, Timing]:
    """Times the alternatives in interleaved rounds of random order.

    Ours takes part in every round, a slow alternative in every n-th one only, so that none takes much more than its
    share of the time; each takes part at least once.

    Args:
        case: after `check_equal`, which is the warm-up.
        seconds: about how long it may take in all.
        device: "cuda" waits for the device inside each timing.

    Returns:
        Name -> timing.
    """
    timer = _timer(device, case.before)
    runs = case.alternatives
    samples: dict[str, list[float]] = {name: [] for name in runs}
    with no_garbage_collection():
        once = {name: _estimate(timer, run) for name, run in runs.items()}
        share = seconds / len(runs)
        rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, int(share / once[OURS])))
        strides = {name: max(1, math.ceil(rounds * once[name] / share)) for name in runs} | {OURS: 1}
        # A new order every round: what one alternative leaves in the caches is no other's lasting luck.
        shuffle = np.random.default_rng(0)
        for turn in range(rounds):
            for name in shuffle.permutation(list(runs)):
                if turn % strides[name] == 0:
                    samples[name].append(timer(runs[name]))
    return {name: summary(values) for name, values in samples.items()}


def _estimate(timer: Callable[[Callable[[], Any]], float], run: Callable[[], Any]) -> float:
    """The time of one call; of the shortest of three where that is cheap, since one may be disturbed."""
    first = timer(run)
    return first if first > CHEAP_SECONDS else min(first, timer(run), timer(run))


def summary(seconds: list[float]) -> Timing:
    p20, p50, p80 = np.quantile(seconds, [0.2, 0.5, 0.8])
    return Timing(float(p20), float(p50), float(p80), len(seconds))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _timer(device: str, before: Callable[[], object]) -> Callable[[Callable[[], Any]], float]:
    def timed(run: Callable[[], Any]) -> float:
        before()
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        result = run()
        if device == "cuda":
            torch.cuda.synchronize()
        end = time.perf_counter()
        del result  # freed outside the timing
        return end - begin

    return timed
