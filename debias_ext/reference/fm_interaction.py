"""`fm_interaction` in plain torch."""

from __future__ import annotations

from torch import Tensor


def fm_interaction(fields: Tensor) -> Tensor:
    return 0.5 * (fields.sum(1).square() - fields.square().sum(1)).sum(1)
