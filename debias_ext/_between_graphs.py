"""Calls that torch.compile makes between its graphs. Imports the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


@torch.compiler.disable(
    reason="a fused training step counts its steps in Python: call it outside the compiled function"
)
def call_between_graphs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The function's result, eager throughout."""
    return function(*args, **kwargs)
