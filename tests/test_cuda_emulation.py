"""The .cu files run on the CPU under the sanitizers, and the emulation catches the faults it is there for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_emulation import build

pytestmark = pytest.mark.skipif(
    shutil.which(build.CXX) is None, reason=f"the CUDA emulation needs a C++ compiler ({build.CXX})"
)
ORDERS = ("forward", "reverse", "random:1")

# name of the kernel in planted_faults.cu, the sanitizer it runs under, what the report has to say
FAULTS = [
    ("out_of_bounds_global_read", "address", "heap-buffer-overflow"),
    ("out_of_bounds_shared_read", "address", "heap-buffer-overflow"),
    ("out_of_bounds_static_shared_read", "address", "out of bounds"),
    ("missing_barrier", "thread", "data race"),
    ("missing_second_barrier", "thread", "data race"),
    ("missing_warp_barrier", "thread", "data race"),
    ("missing_atomic", "thread", "data race"),
    ("race_between_blocks", "thread", "data race"),
    ("misaligned_float4", "address", "misaligned address"),
    ("misaligned_vector_load", "address", "misaligned vector access"),
    ("divergent_barrier", "address", "divergent barrier"),
    ("barrier_that_some_threads_miss", "address", "divergent barrier"),
    ("lane_outside_its_mask", "address", "lane outside its mask"),
    ("thread_leaves_before_a_barrier", "address", "__syncthreads"),
    ("thread_leaves_before_a_shuffle", "address", "__shfl_xor_sync"),
    ("uninitialised_shared_memory", "address", "NaN in the result"),
    ("integer_overflow", "address", "signed integer overflow"),
]


def run(program: Path, *arguments: str, order: str = "forward") -> subprocess.CompletedProcess[str]:
    # CUDA threads own no memory, and the leak check needs ptrace, which containers forbid
    environment = {**os.environ, "DEBIAS_EMULATION_ORDER": order, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("fault", "sanitizer", "report"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_planted_fault_is_caught(fault: str, sanitizer: str, report: str, order: str) -> None:
    done = run(build.build_planted_faults(sanitizer), fault, "faulty", order=order)
    assert done.returncode != 0, "the faulty kernel passed"
    assert report in done.stdout + done.stderr


@pytest.mark.parametrize("sanitizer", sorted(build.SANITIZERS))
@pytest.mark.parametrize("fault", [fault[0] for fault in FAULTS])
def test_kernel_without_the_fault_passes(fault: str, sanitizer: str) -> None:
    done = run(build.build_planted_faults(sanitizer), fault, "correct")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["divergent_barrier", "lane_outside_its_mask", "misaligned_vector_load"])
def test_emulation_error_names_file_line_thread_and_launch(fault: str) -> None:
    lines = (build.HERE / "planted_faults.cu").read_text().splitlines()
    message = run(build.build_planted_faults("address"), fault, "faulty").stdout
    place = message.split("planted_faults.cu:", 1)[1]
    culprit = lines[int(place.split(":", 1)[0]) - 1]
    assert any(name in culprit for name in ("__syncthreads", "__shfl_down_sync", "load_vector"))
    assert "[thread (" in message
    launched_at = int(message.rsplit("planted_faults.cu:", 1)[1])
    assert "launch(" in lines[launched_at - 1]


# the race detector judges by what is ordered, not by what happened to come first: one order is enough for it
@pytest.mark.parametrize(("sanitizer", "order"), [*(("address", order) for order in ORDERS), ("thread", "random:2")])
@pytest.mark.parametrize("family", build.harness_families())
def test_kernel_family_is_clean_and_right(family: str, sanitizer: str, order: str) -> None:
    done = run(build.build_harness(family, sanitizer), order=order)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_an_unknown_order_is_refused() -> None:
    done = run(build.build_harness("self_test", "address"), order="sideways")
    assert done.returncode != 0
    assert "forward, reverse or random:SEED, got sideways" in done.stdout
