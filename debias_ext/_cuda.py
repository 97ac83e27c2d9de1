"""Whether the CUDA kernels can run here, and why not."""

from __future__ import annotations

import torch

from debias_ext._library import _C


def cuda_status() -> tuple[bool, str]:
    """(True, device name) when CUDA tensors can be used with this package, else (False, the reason)."""
    info = _C.build_info()
    if not info["cuda"]:
        return False, f"debias_ext was built without CUDA: {info['no_cuda_reason']}"
    runtime = _C.cuda_runtime()
    if runtime["driver_version"] == 0:
        return False, "no NVIDIA driver was found"
    if runtime["driver_version"] // 1000 < runtime["runtime_version"] // 1000:
        return False, (
            f"the driver serves CUDA {_cuda_version(runtime['driver_version'])}, this build needs "
            f"{_cuda_version(runtime['runtime_version'])}: update the driver"
        )
    if runtime["device_count"] == 0:
        return False, f"no CUDA device was found ({runtime['error'] or 'none is visible'})"
    if torch.version.cuda is None:
        return False, f"torch {torch.__version__} is a CPU-only build: install a CUDA build of torch"
    if not torch.cuda.is_available():
        return False, "torch.cuda.is_available() is False"
    return True, torch.cuda.get_device_name()


def has_cuda() -> bool:
    """True when the operators run on CUDA tensors here; `python -m debias_ext.doctor` tells why not."""
    return cuda_status()[0]


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
