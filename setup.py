"""Builds debias_ext._C: C++ against torch's stable ABI, and, where nvcc is found, CUDA kernels without torch headers.

Environment:
  DEBIAS_CUDA            auto (default): with CUDA if nvcc is found; 1: fail without nvcc; 0: CPU only
  TORCH_CUDA_ARCH_LIST   e.g. "8.0;9.0+PTX"; default: 7.5 to 12.0, and PTX of the newest
  CUDA_HOME              where to look for nvcc first; then /usr/local/cuda and PATH
  MAX_JOBS               parallel compiler processes (default: the number of CPUs)
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
ARCHS = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0+PTX")
OPTIMISATION = ["-O3", "-g0", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]
VISIBILITY = ["-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"]
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020d000000000000"  # torch 2.13
CXX_FLAGS = ["-std=c++17", *OPTIMISATION, *VISIBILITY, STABLE_ABI, "-Wall", "-Wextra"]
NVCC_FLAGS = ["-std=c++17", "-O3", "-Werror", "all-warnings", "--compress-mode=size"]
NVCC_FLAGS += ["-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall"]


def version() -> str:
    namespace: dict[str, str] = {}
    for line in (ROOT / "debias_ext" / "_version.py").read_text().splitlines():
        if line.startswith("__version__"):
            namespace["version"] = line.split('"')[1]
    return namespace["version"]


def import_build_requirements():
    try:
        import pybind11
        import torch
        from torch.utils.cpp_extension import include_paths
    except ImportError as error:
        raise SystemExit(
            f"debias-ext needs {error.name} to build. Either let pip prepare the build (pip install .), or install it "
            "first:\n"
            "    pip install 'torch>=2.13' pybind11 ninja setuptools wheel\n"
            "    pip install --no-build-isolation ."
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 13):
        raise SystemExit(
            f"debias-ext needs torch >= 2.13 to build, found {torch.__version__}: pip install 'torch>=2.13'"
        )
    return torch, [*include_paths(), pybind11.get_include()]


def find_nvcc() -> tuple[Path | None, str]:
    """The compiler, or None and the reason why there is none."""
    wish = os.environ.get("DEBIAS_CUDA", "auto")
    if wish not in ("auto", "0", "1"):
        raise SystemExit(f"DEBIAS_CUDA must be auto, 1 or 0, got {wish!r}")
    if wish == "0":
        return None, "DEBIAS_CUDA=0 was set"
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)] + ["/usr/local/cuda"]
    candidates = [Path(home) / "bin" / "nvcc" for home in homes]
    on_path = shutil.which("nvcc")
    for candidate in candidates + ([Path(on_path)] if on_path else []):
        if candidate.is_file():
            return candidate, ""
    if wish == "1":
        raise SystemExit("DEBIAS_CUDA=1 was set, but no nvcc was found in CUDA_HOME, /usr/local/cuda or PATH")
    return None, "no nvcc was found in CUDA_HOME, /usr/local/cuda or PATH"


def cuda_archs() -> list[str]:
    given = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
    return given or list(ARCHS)


def gencode_flags(archs: list[str]) -> list[str]:
    flags = []
    for arch in archs:
        number = arch.removesuffix("+PTX").replace(".", "")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if arch.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def cuda_library_dir(nvcc: Path) -> Path:
    """Beside the compiler that is really called: nvcc on PATH may be a link or a wrapper."""
    dry = subprocess.run([str(nvcc), "-dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True)
    for line in dry.stderr.splitlines():
        if "_TARGET_DIR_=" not in line and line.startswith("#$ TOP="):
            top = Path(line.split("=", 1)[1].strip())
            for name in ("lib64", "lib", "targets/x86_64-linux/lib"):
                if (top / name / "libcudart_static.a").exists():
                    return top / name
    for home in (nvcc.resolve().parent.parent, Path("/usr/local/cuda")):
        if (home / "lib64" / "libcudart_static.a").exists():
            return home / "lib64"
    raise SystemExit(f"libcudart_static.a was not found beside {nvcc}; set CUDA_HOME, or DEBIAS_CUDA=0 for a CPU build")


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Plan:
    """Every compiler call of the build: (source, object, command)."""

    def __init__(self, target: Path, build_root: Path) -> None:
        torch, includes = import_build_requirements()
        nvcc, reason = find_nvcc()
        if nvcc is None:
            print(f"debias-ext: building for the CPU only ({reason})", file=sys.stderr)
        cxx = shlex.split(os.environ.get("CXX", "g++"))
        include_flags = [f"-I{CSRC}"] + [f"-isystem{path}" for path in includes]
        python_include = __import__("sysconfig").get_paths()["include"]
        common = [*cxx, *CXX_FLAGS, *include_flags, f"-isystem{python_include}"]
        common += ["-DDEBIAS_WITH_CUDA"] if nvcc else [f"-DDEBIAS_NO_CUDA_REASON={quoted(reason)}"]
        facts = [
            f"-DDEBIAS_VERSION={quoted(version())}",
            f"-DDEBIAS_BUILD_TORCH={quoted(torch.__version__)}",
            f"-DDEBIAS_BUILD_FLAGS={quoted(' '.join(CXX_FLAGS))}",
            f"-DDEBIAS_CUDA_ARCHS={quoted(' '.join(cuda_archs()) if nvcc else '')}",
        ]
        device = [str(nvcc), *NVCC_FLAGS, *gencode_flags(cuda_archs()), f"-I{CSRC}"] if nvcc else []
        # One object folder per set of flags: switching between builds recompiles nothing.
        key = hashlib.sha256(repr((common, device)).encode()).hexdigest()[:12]
        self.folder = build_root / f"objects-{key}"
        self.target = target
        self.steps: list[tuple[Path, Path, list[str]]] = []
        sources = sorted(CSRC.rglob("*.cpp")) + (sorted(CSRC.rglob("*.cu")) if nvcc else [])
        for source in sources:
            object_file = self.folder / source.relative_to(CSRC).with_suffix(source.suffix + ".o")
            command = list(device) if source.suffix == ".cu" else list(common)
            command += facts if source.name == "module.cpp" else []
            self.steps.append((source, object_file, [*command, "-c", str(source), "-o", str(object_file)]))
        torch_lib = Path(torch.__file__).parent / "lib"
        self.link = [*cxx, "-shared", "-Wl,--strip-all", "-Wl,--as-needed", "-Wl,--exclude-libs,ALL", "-o", str(target)]
        self.link += [str(object_file) for _, object_file, _ in self.steps]
        self.link += [f"-L{torch_lib}", "-ltorch_cpu", "-lc10"]
        if nvcc:
            self.link += [f"-L{cuda_library_dir(nvcc)}", "-lcudart_static", "-ldl", "-lrt", "-lpthread"]

    def write_ninja(self) -> Path:
        def escape(path: Path) -> str:
            return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")

        def shell(command: list[str]) -> str:
            return shlex.join(command).replace("$", "$$")

        lines = ["ninja_required_version = 1.5"]
        lines += ["rule compile", "  command = $run -MMD -MF $out.d", "  depfile = $out.d", "  deps = gcc"]
        lines += ["  description = $in", "rule link", "  command = $run", "  description = link $out"]
        # What ptxas says of registers and spills is kept beside the object, for tools/cuda_resources.py.
        kept = "$run -Xptxas -v -MMD -MF $out.d > $out.ptxas 2>&1 || { cat $out.ptxas; exit 1; }"
        lines += ["rule kernels", f"  command = {kept}", "  depfile = $out.d", "  deps = gcc", "  description = $in"]
        for source, object_file, command in self.steps:
            rule = "kernels" if source.suffix == ".cu" else "compile"
            lines += [f"build {escape(object_file)}: {rule} {escape(source)}", f"  run = {shell(command)}"]
        objects = " ".join(escape(object_file) for _, object_file, _ in self.steps)
        lines += [f"build {escape(self.target)}: link {objects}", f"  run = {shell(self.link)}"]
        path = self.folder / "build.ninja"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    def run(self) -> None:
        jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
        self.target.parent.mkdir(parents=True, exist_ok=True)
        for _, object_file, _ in self.steps:
            object_file.parent.mkdir(parents=True, exist_ok=True)
        ninja = shutil.which(
            "ninja", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        )
        if ninja:
            subprocess.run([ninja, "-C", str(self.folder), "-f", str(self.write_ninja()), "-j", str(jobs)], check=True)
            return
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda step: subprocess.run(step[2], check=True), self.steps))
        subprocess.run(self.link, check=True)


class BuildExtension(build_ext):
    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        try:
            Plan(target, ROOT / "build").run()
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"debias-ext: the build failed (exit code {error.returncode}); see above") from None


# The benchmarks live beside the packages in the checkout and are installed inside debiasrec.
BENCHMARKS = ["debiasrec.benchmarks", *(f"debiasrec.benchmarks.{name}" for name in find_packages("benchmarks"))]

setup(
    packages=find_packages(include=["debias_ext", "debias_ext.*"]) + find_packages("python_api") + BENCHMARKS,
    ext_modules=[Extension("debias_ext._C", sources=[])],
    cmdclass={"build_ext": BuildExtension},
)
