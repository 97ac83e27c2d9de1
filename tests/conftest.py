"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import debias_ext.ops
from debias_ext import _library
from debias_ext._autograd import RowLoss
from debias_ext._cuda import cuda_status


class Device(NamedTuple):
    """Where the kernels of a test run, and what they take."""

    name: str  # cpu, emulated, cuda
    tensors: str  # the torch device that holds the tensors
    floats: tuple[torch.dtype, ...]


FLOATS = (torch.float32, torch.float64)
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets, one folder each as their publishers lay them out."""
    root = os.environ.get("DEBIASREC_DATA")
    if not root:
        pytest.skip("needs real data: set DEBIASREC_DATA to the folder that holds coat/ and yahoo_r3/")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"DEBIASREC_DATA={root} is not a folder")
    return path


@pytest.fixture(scope="session")
def emulated_ops() -> Any:
    """`torch.ops.debias_emulated`: the CUDA kernels as C++, run on CPU tensors."""
    from cuda_emulation import build

    if shutil.which(build.CXX) is None:
        pytest.skip(f"the CUDA emulation needs a C++ compiler ({build.CXX})")
    torch.ops.load_library(build.build_emulated_ops())
    return torch.ops.debias_emulated


@pytest.fixture(params=["cpu", "emulated", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    """Runs a test over every kind of kernel; the public functions of `debias_ext` are called as always."""
    if request.param == "cuda":
        works, reason = cuda_status()
        if not works:
            pytest.skip(f"no CUDA: {reason}")
        return Device("cuda", "cuda", FLOATS + HALVES)
    if request.param == "emulated":
        call_emulated_kernels(request.getfixturevalue("emulated_ops"), monkeypatch)
        return Device("emulated", "cpu", FLOATS + HALVES)
    return Device("cpu", "cpu", FLOATS)


def call_emulated_kernels(emulated_ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces every operator that the modules of `debias_ext.ops` hold by its twin over emulated kernels."""

    def twin(operator: Any) -> Any:
        return getattr(emulated_ops, operator.name().split("::")[1].removesuffix(".default")).default

    for info in pkgutil.iter_modules(debias_ext.ops.__path__):
        module = importlib.import_module(f"debias_ext.ops.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, RowLoss):
                monkeypatch.setattr(value, "operator", twin(value.operator))
            elif isinstance(value, torch._ops.OpOverload) and value.namespace == "debias_ext":
                monkeypatch.setattr(module, name, twin(value))


@pytest.fixture
def one_and_two_threads() -> Iterator[None]:
    """Restores torch's thread count after a test that changes it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def simd_levels() -> Iterator[list[str]]:
    """The SIMD levels of this CPU, lowest first; the level is restored after the test."""
    module = _library.load()
    level = module.simd_level()
    every = ["baseline", "avx2", "avx512"]
    yield every[: every.index(module.detected_simd_level()) + 1]
    module.set_simd_level(level)
