"""Accuracy of the per-row formulas of the click losses, seen through a small C++ program without torch."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_emulation import build

ULPS = {"value": 4.0, "score": 5.0, "source": 4.0, "mixed": 6.0, "click": 4.0}
ROWS = ("exposure-binary", "exposure", "logit-binary", "logit", "relmf-square", "relmf-log")


@pytest.mark.skipif(shutil.which(build.CXX) is None, reason=f"needs a C++ compiler ({build.CXX})")
def test_every_slope_keeps_its_digits_over_scores_of_sixty_and_all_exposures(tmp_path: Path) -> None:
    program = tmp_path / "row_math"
    source = Path(__file__).with_name("row_math.cpp")
    include = f"-I{build.ROOT / 'csrc'}"
    subprocess.run([build.CXX, "-O1", "-std=c++17", include, source, "-o", program], check=True)
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    errors = {tuple(line.split()[:3]): float(line.split()[3]) for line in lines}
    assert len(errors) == 2 * len(ROWS) * len(ULPS)
    for (dtype, row, quantity), error in errors.items():
        assert row in ROWS
        assert error <= ULPS[quantity], (dtype, row, quantity, error)
