"""The CPU operators under the address and undefined-behaviour sanitizers.

Builds the C++ sources once more, without CUDA, into build/sanitized/, beside links to the Python files, and runs tests
against that copy of debias_ext. Torch itself is not instrumented, but its memory comes from the sanitizer's allocator:
a read or write past the end of a tensor is caught.

    python tools/sanitize.py                  the quick tests of the operators
    python tools/sanitize.py tests/ops -x     whatever pytest is told
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "sanitized"
CXX = os.environ.get("CXX", "g++")
FLAGS = ["-std=c++17", "-O1", "-g1", "-fPIC", "-fno-omit-frame-pointer", "-fvisibility=hidden", "-fopenmp-simd"]
# vptr needs the type information of torch's classes
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=all"]
PLANTED = ROOT / "tests" / "sanitizers" / "planted_faults.cpp"
REPORTS = {  # fault -> what the report has to say
    "read": "heap-buffer-overflow",
    "write": "heap-buffer-overflow",
    "overflow": "signed integer overflow",
    "shift": "shift exponent",
}
FACTS = {"VERSION": "sanitized", "BUILD_TORCH": "", "BUILD_FLAGS": "", "CUDA_ARCHS": "", "NO_CUDA_REASON": "sanitized"}
FAMILIES = (
    "additive_weights",
    "attention",
    "block",
    "fm_interaction",
    "frontdoor",
    "lookahead",
    "mf_loss",
    "mf_step",
    "optimizer_step",
    "ops",
    "ranking",
    "sampling",
    "topk",
)
# What makes no new call of a kernel, or starts compilers of its own, is left out; so is what compares the bits of two
# loops, which are equal as setup.py compiles them.
QUICK = [f"tests/{family}" for family in FAMILIES]
QUICK += ["-k", "not emulated and not cuda and not compile and not derivatives and not transforms and not screen"]
QUICK += ["--ignore=tests/ops/test_large_sizes.py"]


def write_ninja() -> Path:
    """Every source of csrc but the .cu files, and the module they are linked into."""
    import pybind11
    import torch
    from torch.utils.cpp_extension import include_paths

    headers = [*include_paths(), pybind11.get_include(), sysconfig.get_paths()["include"]]
    compile_flags = [*FLAGS, *SANITIZERS, "-DTORCH_TARGET_VERSION=0x020d000000000000", f"-I{ROOT / 'csrc'}"]
    compile_flags += [f"-isystem{path}" for path in headers]
    compile_flags += [f'-DDEBIAS_{name}="{value}"' for name, value in FACTS.items()]
    target = BUILD / "debias_ext" / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    libraries = [f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu", "-lc10"]
    lines = [
        "rule compile",
        f"  command = {shlex.join([CXX, *compile_flags])} -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = $in",
        "rule link",
        f"  command = {shlex.join([CXX, '-shared', *SANITIZERS])} $in {shlex.join(libraries)} -o $out",
    ]
    objects = []
    for source in [*sorted((ROOT / "csrc").rglob("*.cpp")), PLANTED]:
        objects.append(f"objects/{source.parent.name}-{source.name}.o")
        lines.append(f"build {objects[-1]}: compile {source}")
    lines.append(f"build {target}: link {' '.join(objects)}")
    path = BUILD / "build.ninja"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def link_python_files() -> None:
    package = BUILD / "debias_ext"
    package.mkdir(parents=True, exist_ok=True)
    for old in package.iterdir():
        if old.is_symlink():
            old.unlink()
    for file in (ROOT / "debias_ext").iterdir():
        if file.suffix != ".so" and file.name != "__pycache__":
            (package / file.name).symlink_to(file)


def preloaded() -> str:
    """The sanitizer has to come before Python's allocator, and the C++ run-time before the sanitizer looks for it."""
    names = ("libasan.so", "libstdc++.so.6")
    found = (subprocess.check_output([CXX, f"-print-file-name={name}"], text=True).strip() for name in names)
    return " ".join(found)


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "LD_PRELOAD": preloaded(),
        "PYTHONPATH": str(BUILD),
        "ASAN_OPTIONS": "detect_leaks=0:exitcode=66",  # the leak check needs ptrace, which containers forbid
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "2",
    }


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    # From the build folder: the folder that one starts from comes first on Python's path.
    return subprocess.run([sys.executable, *command], cwd=BUILD, env=environment(), text=True, **options)


def check_planted_faults() -> None:
    """Raises a SystemExit unless the module in use is the sanitized one and every planted fault is caught."""
    program = "import sys, torch, debias_ext; assert debias_ext._library._C.build_info()['version'] == 'sanitized'; "
    program += "print(torch.ops.debias_planted.fault(torch.arange(1000), sys.argv[1]))"
    for fault, report in {"none": "999", **REPORTS}.items():
        done = run(["-c", program, fault], capture_output=True)
        if (done.returncode == 0) != (fault == "none") or report not in done.stdout + done.stderr:
            raise SystemExit(f"planted fault {fault!r}: expected {report!r}, got\n{done.stdout}{done.stderr}")
    print(f"planted faults caught: {', '.join(REPORTS)}")


def test(arguments: list[str]) -> int:
    """pytest over the sanitized copy; a finding ends the process, and the report is on standard error."""
    given = [f"--ignore={ROOT / word[9:]}" if word.startswith("--ignore=") else word for word in arguments]
    given = [str(ROOT / word) if (ROOT / word.split("::")[0]).exists() else word for word in given]
    return run(["-m", "pytest", "-s", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *given]).returncode


def main(arguments: list[str]) -> int:
    link_python_files()
    ninja = Path(sys.executable).with_name("ninja")
    subprocess.run([str(ninja) if ninja.exists() else "ninja", "-C", str(BUILD), "-f", str(write_ninja())], check=True)
    check_planted_faults()
    return test(arguments or QUICK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
