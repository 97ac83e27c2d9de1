"""Benchmarks change torch's thread count and load matplotlib: one place that says what a tiny run is."""

from __future__ import annotations

import pytest
from debiasrec.benchmarks.harness import OURS, Case


@pytest.fixture
def counted_case() -> tuple[Case, list[str]]:
    """Two alternatives of equal result, and the order in which they were called."""
    calls: list[str] = []

    def alternative(name: str):
        def run() -> float:
            calls.append(name)
            return 1.0

        return run

    return Case({name: alternative(name) for name in (OURS, "other")}, bytes_moved=8), calls
