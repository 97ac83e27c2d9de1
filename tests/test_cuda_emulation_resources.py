"""The resource report of the CUDA kernels is up to date, and no kernel spills without a stated reason."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "cuda_resources.py"

PTXAS_REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN6debias4busyIfEEvPKT_' for 'sm_75'
ptxas info    : Function properties for _ZN6debias4busyIfEEvPKT_
    24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1040 bytes smem, 380 bytes cmem[0]
ptxas info    : Compile time = 5.3 ms
ptxas info    : Compiling entry function '_ZN6debias4busyIfEEvPKT_' for 'sm_80'
ptxas info    : Function properties for _ZN6debias4busyIfEEvPKT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 380 bytes cmem[0]
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cuda_resources", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ptxas_report_is_read_per_kernel_and_arch(tool: ModuleType) -> None:
    symbol = "_ZN6debias4busyIfEEvPKT_"
    assert tool.parse(PTXAS_REPORT) == [
        (symbol, "sm_75", 255, 1040, 8, 12, 24),
        (symbol, "sm_80", 40, 0, 0, 0, 0),
    ]
    assert tool.demangle([symbol]) == {symbol: "debias::busy<float>"}


def test_a_spill_is_reported_unless_it_is_listed(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("debias::busy<float>", "sm_75", 255, 1040, 8, 12, 24), ("debias::idle", "sm_75", 8, 0, 0, 0, 0)]
    assert tool.unexpected_spills(rows) == ["debias::busy<float> on sm_75 spills: 8 bytes of stores, 12 bytes of loads"]
    monkeypatch.setitem(tool.ALLOWED_SPILLS, "debias::busy", "a reason")
    assert tool.unexpected_spills(rows) == []


def test_a_changed_report_is_out_of_date(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "REPORT", tmp_path / "report.csv")
    rows = [("debias::idle<float, int>", "sm_75", 8, 0, 0, 0, 0)]
    tool.write(rows)
    assert tool.differences(rows) == []
    changed = [("debias::idle<float, int>", "sm_75", 9, 0, 0, 0, 0)]
    assert tool.differences(changed) == [
        "+ debias::idle<float, int>,sm_75,9,0,0,0,0",
        "- debias::idle<float, int>,sm_75,8,0,0,0,0",
    ]


def test_the_report_of_a_build_counts_while_it_is_younger_than_the_sources_and_has_every_arch(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, report = tmp_path / "csrc" / "busy_cuda.cu", tmp_path / "build" / "objects-1" / "busy_cuda.cu.o.ptxas"
    for path in (source, report):
        path.parent.mkdir(parents=True)
    flags = tmp_path / "setup.py"
    source.write_text("")
    flags.write_text("")
    report.write_text(PTXAS_REPORT)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "CSRC", tmp_path / "csrc")
    monkeypatch.setattr(tool, "ARCHS", ("75", "80"))
    for path in (source, flags):
        os.utime(path, (1, 1))
    assert tool.build_report(source) == PTXAS_REPORT
    os.utime(flags, (1 << 40, 1 << 40))
    assert tool.build_report(source) is None
    os.utime(flags, (1, 1))
    monkeypatch.setattr(tool, "ARCHS", ("75", "80", "90"))
    assert tool.build_report(source) is None
    monkeypatch.setattr(tool, "ARCHS", ("75", "80"))
    os.utime(report, (0, 0))
    assert tool.build_report(source) is None


def test_stored_resource_report_matches_the_kernels(tool: ModuleType) -> None:
    if tool.find_nvcc() is None:
        pytest.skip("nvcc was not found: the resource report cannot be made again")
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
