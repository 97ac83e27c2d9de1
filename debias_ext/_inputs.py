"""What the public functions do to their arguments before the operators check them."""

from __future__ import annotations

import torch
from torch import Tensor


def check_tensor(name: str, value: object) -> None:
    """Raises a ValueError that names the argument when it is not a tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(value).__name__}")


def loss_inputs(**tensors: Tensor | None) -> list[Tensor | None]:
    """Checks that every given argument is a tensor; under autocast, half types become float32."""
    for name, tensor in tensors.items():
        if tensor is not None:
            check_tensor(name, tensor)
    values = list(tensors.values())
    device = next(tensor.device.type for tensor in values if tensor is not None)
    if not torch.is_autocast_enabled(device):
        return values
    half = (torch.float16, torch.bfloat16)
    return [tensor.float() if tensor is not None and tensor.dtype in half else tensor for tensor in values]


def validated(validate: bool, tensor: Tensor) -> bool:
    """Values on a CUDA device are checked unless the caller says no, or a graph is being captured."""
    return validate and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def exactly_one(first: str, a: Tensor | None, second: str, b: Tensor | None) -> None:
    """Raises a ValueError unless one of two alternative arguments is given."""
    if (a is None) == (b is None):
        raise ValueError(f"give exactly one of {first} and {second}, got {'both' if a is not None else 'neither'}")
