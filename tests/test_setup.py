"""What setup.py says when a build cannot be what was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_NVCC = "names['shutil'].which = lambda *_, **__: None\nnames['Path'].is_file = lambda _: False\n"


def run_setup(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs `code` with the names of setup.py, whose call of setup() is replaced by nothing."""
    prelude = (
        "import setuptools, sys; setuptools.setup = lambda **_: None\n"
        f"names = {{'__file__': {str(ROOT / 'setup.py')!r}, '__name__': 'setup'}}\n"
        f"exec(compile(open({str(ROOT / 'setup.py')!r}).read(), 'setup.py', 'exec'), names)\n"
    )
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, env=environment, cwd=ROOT
    )


def test_a_missing_torch_is_answered_with_the_command_to_type():
    done = run_setup("sys.modules['torch'] = None\nnames['import_build_requirements']()")
    assert done.returncode == 1
    assert "needs torch to build" in done.stderr
    assert "pip install --no-build-isolation ." in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_torch_is_refused():
    done = run_setup("import torch; torch.__version__ = '2.4.1'\nnames['import_build_requirements']()")
    assert done.returncode == 1
    assert "needs torch >= 2.13 to build, found 2.4.1" in done.stderr


def test_cuda_can_be_switched_off():
    done = run_setup("print(names['find_nvcc']())", DEBIAS_CUDA="0")
    assert "DEBIAS_CUDA=0 was set" in done.stdout


def test_asking_for_cuda_without_a_compiler_is_an_error():
    code = (
        "names['shutil'].which = lambda *_, **__: None\nnames['Path'].is_file = lambda _: False\nnames['find_nvcc']()"
    )
    done = run_setup(code, DEBIAS_CUDA="1")
    assert done.returncode == 1
    assert "no nvcc was found" in done.stderr


def test_without_a_compiler_the_build_is_for_the_cpu_and_the_reason_is_kept():
    done = run_setup(WITHOUT_NVCC + "print(names['find_nvcc']())", DEBIAS_CUDA="auto")
    assert "no nvcc was found in CUDA_HOME, /usr/local/cuda or PATH" in done.stdout


@pytest.mark.parametrize(
    ("wish", "flags"),
    [
        ("8.0", ["-gencode=arch=compute_80,code=sm_80"]),
        ("9.0+PTX", ["-gencode=arch=compute_90,code=sm_90", "-gencode=arch=compute_90,code=compute_90"]),
    ],
)
def test_the_arch_list_of_torch_is_honoured(wish, flags):
    done = run_setup("print(names['gencode_flags'](names['cuda_archs']()))", TORCH_CUDA_ARCH_LIST=wish)
    assert done.stdout.strip() == str(flags)
