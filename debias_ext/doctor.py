"""`python -m debias_ext.doctor`: what was built, what runs here, and why CUDA is on or off."""

from __future__ import annotations

import platform
import sys

import torch

from debias_ext._cuda import cuda_status
from debias_ext._library import _C
from debias_ext._version import __version__


def facts() -> dict[str, str]:
    """Name and value of every line that the doctor prints."""
    build = _C.build_info()
    runtime = _C.cuda_runtime()
    works, reason = cuda_status()
    level, detected = _C.simd_level(), _C.detected_simd_level()
    return {
        "debias_ext": f"{__version__} (compiled {build['version']}, against torch {build['torch']})",
        "library": _C.__file__ or "?",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__} (CUDA {torch.version.cuda or 'none: a CPU-only build'})",
        "compiler": f"{build['compiler']}; {build['flags']}",
        "SIMD level": level if level == detected else f"{level} (lowered; this CPU has {detected})",
        "threads": f"{torch.get_num_threads()} (torch.set_num_threads)",
        "CUDA kernels": f"built for {build['cuda_archs']}"
        if build["cuda"]
        else f"not built: {build['no_cuda_reason']}",
        "CUDA runtime": _cuda_versions(runtime) if build["cuda"] else "-",
        "CUDA": f"on: {_device_line(build['cuda_archs'])}" if works else f"off: {reason}",
    }


def _cuda_versions(runtime: dict) -> str:
    def version(number: int) -> str:
        return f"{number // 1000}.{number % 1000 // 10}"

    driver = f"driver serves {version(runtime['driver_version'])}" if runtime["driver_version"] else "no driver"
    return f"{version(runtime['runtime_version'])} linked in; {driver}"


def _device_line(archs: str) -> str:
    major, minor = torch.cuda.get_device_capability()
    native = f"{major}.{minor}" in archs.replace("+PTX", "").split()
    code = "native code" if native else "compiled from PTX at first use"
    return f"{torch.cuda.get_device_name()} (compute capability {major}.{minor}, {code})"


def main() -> int:
    """Prints the facts and runs one operator; returns 0 when it gave the right result."""
    lines = facts()
    width = max(len(name) for name in lines)
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
    works = _self_test("cuda" if cuda_status()[0] else "cpu")
    print(f"{'self-test':<{width}}  {'passed' if works else 'FAILED: reinstall debias-ext'}")
    return 0 if works else 1


def _self_test(device: str) -> bool:
    """mf_score and its gradient on a two by two example with known results."""
    from debias_ext import mf_score

    users, items = torch.tensor([0, 1], device=device), torch.tensor([1, 1], device=device)
    user_factors = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device, requires_grad=True)
    item_factors = torch.tensor([[5.0, 6.0], [7.0, 8.0]], device=device)
    scores = mf_score(user_factors, item_factors, users, items)
    scores.sum().backward()
    gradient = user_factors.grad
    return scores.tolist() == [23.0, 53.0] and gradient is not None and gradient.tolist() == [[7.0, 8.0]] * 2


if __name__ == "__main__":
    sys.exit(main())
