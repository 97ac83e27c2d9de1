"""Initial values of tables."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def normal(generator: np.random.Generator, deviation: float, *shape: int, device: str | torch.device = "cpu") -> Tensor:
    """A float32 leaf of Normal(0, deviation), drawn on the CPU whatever the device."""
    values = generator.standard_normal(shape, dtype=np.float32)
    values *= np.float32(deviation)
    return torch.from_numpy(values).to(device).requires_grad_()


def he_normal(
    generator: np.random.Generator, rows: int, *columns: int, device: str | torch.device = "cpu", scale: float = 1.0
) -> Tensor:
    """A float32 leaf [rows, *columns] of scale * Normal(0, sqrt(2 / rows)); see `normal`.

    Source: He et al., ICCV 2015, eq (14), where a row of an embedding table is one of so many outgoing connections.
    """
    return normal(generator, scale * math.sqrt(2.0 / max(rows, 1)), rows, *columns, device=device)
