"""Compiles the .cu files as C++ against the emulation.

A test program per kernel family and sanitizer, and one library that registers the CUDA kernels of the operators for
CPU tensors under the namespace ``debias_emulated``. Everything lands in ``build/cuda_emulation``; an object is compiled
again when the bytes of a file it was made from, or its command, have changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "cuda_emulation"
JOBS = 2

CXX = os.environ.get("CXX", "g++")
COMMON_FLAGS = ("-std=c++17", "-g1", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
INCLUDES = ("-DDEBIAS_CUDA_EMULATION", f"-I{ROOT / 'csrc'}", f"-I{HERE}")
SANITIZERS = {
    "address": ("-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-O1", "-fno-omit-frame-pointer", "-fsanitize=thread"),
}
CPU_COMMON = ("segment", "simd")
BORROWED = {"lookahead": ("block/gram_cuda.cu",)}  # kernels of another family that a family's kernels call
_ROWS = ("additive_weights", "fm_interaction", "interd", "mf_score", "pointwise_loss", "ranking")
_FACTORS = ("attention", "frontdoor", "mf_loss", "mf_step", "optimizer_step", "topk")
_HELPERS = ("mf_step/batch.cpp", "mf_step/epoch_order.cpp", "sampling/pair_sampler.cpp", "topk/topk_screen.cpp")
THREADED = {  # what the programs of tests/sanitizers run on several threads, beside the files of CPU_COMMON
    "cpu_threads": [*(f"{family}/*_cpu.cpp" for family in _ROWS), "ranking/group_index.cpp"],
    "cpu_threads_factors": [*(f"{family}/*_cpu.cpp" for family in _FACTORS), *_HELPERS],
    "cpu_threads_blocks": ["block/*_cpu.cpp", "block/rated_order.cpp", "lookahead/*_cpu.cpp"],
    "planted_race": [],
}
RUN_TIME = ("cuda_emulation.cpp", "synchronisation.cpp", "fiber.cpp")  # never instrumented


class BuildError(RuntimeError):
    """A compiler refused a file; the message holds its output."""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def _is_current(target: Path, command: Sequence[str]) -> bool:
    stamp = target.with_suffix(target.suffix + ".json")
    if not target.exists() or not stamp.exists():
        return False
    made = json.loads(stamp.read_text())
    if made["command"] != list(command):
        return False
    return all(Path(name).exists() and _digest(Path(name)) == digest for name, digest in made["inputs"].items())


def _make(target: Path, command: Sequence[str], inputs: Iterable[Path] | None = None) -> None:
    """Runs the command unless the target is current. Without `inputs` they are read from the compiler's list."""
    if _is_current(target, command):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp = target.with_suffix(target.suffix + ".json")
    stamp.unlink(missing_ok=True)
    _run(command)
    if inputs is None:
        listed = target.with_suffix(".d").read_text().replace("\\\n", " ").split(":", 1)[1]
        inputs = [Path(name).resolve() for name in shlex.split(listed)]
    made = {"command": list(command), "inputs": {str(path): _digest(path) for path in inputs}}
    stamp.write_text(json.dumps(made))


def _compile(source: Path, flags: Sequence[str], folder: str) -> Path:
    language = ("-x", "c++") if source.suffix == ".cu" else ()
    target = BUILD / folder / (source.name + ".o")
    depends = ("-MD", "-MF", str(target.with_suffix(".d")))
    _make(target, [CXX, *COMMON_FLAGS, *flags, *depends, *language, "-c", str(source), "-o", str(target)])
    return target


def _build(target: Path, sources: Sequence[tuple[Path, Sequence[str], str]], link_flags: Sequence[str]) -> Path:
    """Compiles (source, flags, folder) two at a time and links the objects."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(JOBS) as pool:
            objects = list(pool.map(lambda item: _compile(*item), sources))
        names = [str(path) for path in objects]
        _make(target, [CXX, *names, *link_flags, "-o", str(target)], objects)
    return target


def _run_time_sources() -> list[tuple[Path, Sequence[str], str]]:
    return [(HERE / name, ("-O2", "-fvisibility=hidden", *INCLUDES), "run_time") for name in RUN_TIME]


def build_program(name: str, sources: Sequence[Path], sanitizer: str) -> Path:
    """A program from `sources` and the emulation, under the "address" (with undefined) or "thread" sanitizer."""
    flags = SANITIZERS[sanitizer]
    folder = f"{name}-{sanitizer}"
    instrumented = [(source, (*flags, *INCLUDES), folder) for source in sources]
    return _build(BUILD / folder / name, [*instrumented, *_run_time_sources()], flags)


def harness_families() -> list[str]:
    """The kernel families that have a harness, and so run under the sanitizers."""
    return sorted(path.stem.removeprefix("harness_") for path in HERE.glob("harness_*.cpp"))


def build_harness(family: str, sanitizer: str) -> Path:
    """The program of tests/cuda_emulation/harness_<family>.cpp with every .cu file of that family."""
    folders = [ROOT / "csrc" / family, HERE / family]
    kernels = sorted(path for folder in folders for path in folder.glob("*_cuda.cu"))
    kernels += [ROOT / "csrc" / name for name in BORROWED.get(family, ())]
    if not kernels:
        raise BuildError(f"no *_cuda.cu in {' or '.join(map(str, folders))}")
    return build_program(family, [HERE / f"harness_{family}.cpp", *kernels], sanitizer)


def build_planted_faults(sanitizer: str) -> Path:
    """The program with one deliberate fault per kernel."""
    return build_program("planted_faults", [HERE / "planted_faults.cu"], sanitizer)


def build_threads(name: str) -> Path:
    """tests/sanitizers/<name>.cpp with its kernels, on plain threads, under the "thread" sanitizer."""
    sanitizers = ROOT / "tests" / "sanitizers"
    flags = (*SANITIZERS["thread"], "-fopenmp-simd", "-Wno-psabi")
    flags += tuple(f"-I{path}" for path in (sanitizers / "threads", ROOT / "csrc", ROOT / "tests"))
    kernels = [path for pattern in THREADED[name] for path in ROOT.glob(f"csrc/{pattern}")]
    kernels += [*(ROOT / "csrc" / "common" / f"{file}.cpp" for file in CPU_COMMON)]
    sources = [(path, flags, f"threads/{path.parent.name}") for path in (sanitizers / f"{name}.cpp", *sorted(kernels))]
    return _build(BUILD / "threads" / name, sources, (*flags, "-pthread"))


def build_emulated_ops() -> Path:
    """The library to load with torch.ops.load_library: the operators over emulated CUDA kernels."""
    from torch.utils.cpp_extension import include_paths, library_paths

    headers = [flag for path in include_paths() for flag in ("-isystem", path)]
    version = "-DTORCH_TARGET_VERSION=0x020d000000000000"
    # the warnings of the op files are the business of setup.py
    flags = ("-O2", "-fvisibility=hidden", "-w", version, *INCLUDES, *headers)
    sources = sorted([*ROOT.glob("csrc/*/*.cpp"), *ROOT.glob("csrc/*/*_cuda.cu")])
    items = [(source, flags, f"ops/{source.parent.name}") for source in sources]
    torch_libraries = [flag for path in library_paths() for flag in (f"-L{path}", f"-Wl,-rpath,{path}")]
    link = ("-shared", *torch_libraries, "-ltorch", "-ltorch_cpu", "-lc10")
    return _build(BUILD / "libdebias_emulated.so", [*items, *_run_time_sources()], link)


if __name__ == "__main__":
    print(build_emulated_ops())
