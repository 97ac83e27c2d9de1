"""The parallel CPU kernels under the thread sanitizer, and that it sees a race."""

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


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TSAN_OPTIONS": "exitcode=66"}
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, timeout=300)


def test_planted_race_is_caught_and_its_repair_passes() -> None:
    program = build.build_threads("planted_race")
    faulty, repaired = run(program, "faulty"), run(program)
    assert faulty.returncode == 66
    assert "data race" in faulty.stderr
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stdout == "1000\n"


@pytest.mark.parametrize(
    ("program", "cases"), [("cpu_threads", 6), ("cpu_threads_factors", 8), ("cpu_threads_blocks", 4)]
)
def test_parallel_kernels_have_no_race_and_the_same_bits_on_any_number_of_threads(program: str, cases: int) -> None:
    done = run(build.build_threads(program))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == cases
