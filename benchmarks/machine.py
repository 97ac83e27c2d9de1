"""What the timings were taken on."""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import torch

import debias_ext
from debias_ext import _C

from .harness import OURS, Case, measure

COPY_BYTES = 64 << 20  # beyond the last-level cache


def provenance(device: str) -> dict[str, str | int]:
    """When, and with which versions, machine, instruction set and number of threads."""
    return {
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": debias_ext.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "simd": _C.simd_level(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_bytes(run: Callable[[], object], device: str) -> int:
    """The most memory of a call beside what was there before it: of the device, or resident memory of the process.

    What the heap holds from earlier calls is given back first: the call would take it again unseen.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def copy_bandwidth(device: str, size: int = COPY_BYTES) -> float:
    """Bytes per second of a plain copy with all threads, reads and writes counted."""
    source = torch.ones(size // 4, device=device)
    target = torch.zeros_like(source)
    timing = measure(Case({OURS: lambda: target.copy_(source)}, 2 * size), seconds=0.1, device=device)[OURS]
    return 2 * size / timing.p50
