"""The doctor tells what was built and why CUDA is on or off."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import debias_ext
from debias_ext import _cuda, doctor


class FakeModule:
    """The build facts and the CUDA runtime of another machine."""

    def __init__(self, *, cuda: bool = True, driver: int = 13000, runtime: int = 13000, devices: int = 1) -> None:
        self._build = {"cuda": cuda, "no_cuda_reason": "DEBIAS_CUDA=0 was set", "cuda_archs": "9.0+PTX"}
        self._runtime = {
            "driver_version": driver,
            "runtime_version": runtime,
            "device_count": devices,
            "error": "" if devices else "no CUDA-capable device is detected",
        }

    def build_info(self) -> dict:
        return self._build

    def cuda_runtime(self) -> dict:
        return self._runtime


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"cuda": False}, "built without CUDA: DEBIAS_CUDA=0 was set"),
        ({"driver": 0}, "no NVIDIA driver was found"),
        ({"driver": 12040}, "the driver serves CUDA 12.4, this build needs 13.0: update the driver"),
        ({"devices": 0}, "no CUDA device was found (no CUDA-capable device is detected)"),
    ],
)
def test_the_reason_why_cuda_is_off_is_named(monkeypatch, machine, reason):
    monkeypatch.setattr(_cuda, "_C", FakeModule(**machine))
    works, told = _cuda.cuda_status()
    assert not works
    assert reason in told


def test_a_cpu_only_torch_is_named_as_the_reason(monkeypatch):
    monkeypatch.setattr(_cuda, "_C", FakeModule())
    monkeypatch.setattr(torch.version, "cuda", None)
    works, told = _cuda.cuda_status()
    assert not works
    assert "CPU-only build" in told


def test_has_cuda_agrees_with_the_status():
    assert debias_ext.has_cuda() is _cuda.cuda_status()[0]


def test_the_doctor_prints_versions_archs_simd_level_threads_and_passes_its_self_test():
    done = subprocess.run([sys.executable, "-m", "debias_ext.doctor"], capture_output=True, text=True, check=True)
    for wanted in (debias_ext.__version__, torch.__version__, "SIMD level", "threads", "CUDA kernels", "self-test"):
        assert wanted in done.stdout
    assert "passed" in done.stdout.splitlines()[-1]


def test_a_lowered_simd_level_shows(monkeypatch):
    from debias_ext import _C

    before = _C.simd_level()
    try:
        _C.set_simd_level("baseline")
        assert doctor.facts()["SIMD level"].startswith("baseline")
    finally:
        _C.set_simd_level(before)
    with pytest.raises(ValueError, match="simd level must be 'baseline', 'avx2' or 'avx512', got 'sse9'"):
        _C.set_simd_level("sse9")
