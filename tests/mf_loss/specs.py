"""What `mf_loss` is called with in these tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.cases import LOSSES, Case, Spec, sample_inputs

FACTORS = ("user_factors", "item_factors")
INDICES = ("users", "items")
BIASES = ("user_bias", "item_bias", "offset")
COLUMNS: tuple[tuple[str, ...], ...] = ((), ("weights",), ("pseudo_targets",), ("weights", "pseudo_targets"))


def spec_of(columns: tuple[str, ...], biases: tuple[str, ...], loss: str, reduction: str) -> Spec:
    floats = (*biases, "targets", *columns)
    return Spec(
        "mf_loss", (*FACTORS, *INDICES, *floats), (*FACTORS, *floats), (("loss", loss), ("reduction", reduction))
    )


CLICK_LOSSES = ("exposure", "relmf")


def _specs() -> Iterator[Spec]:
    for loss in LOSSES:
        for columns in COLUMNS:
            yield spec_of(columns, BIASES, loss, "mean")
        yield spec_of((), (), loss, "sum")
        yield spec_of(("weights",), ("item_bias",), loss, "sum")
    for loss in CLICK_LOSSES:
        yield spec_of(("weights", "exposures"), BIASES, loss, "mean")
        yield spec_of(("exposures",), (), loss, "sum")


SPECS = list(_specs())
# One of each kind of row loss, with every tensor that it can take.
FULL = [
    s for s in SPECS if {"weights", *BIASES} <= set(s.tensors) and dict(s.options)["loss"] in ("bce", *CLICK_LOSSES)
]
EVERYTHING = next(s for s in FULL if "pseudo_targets" in s.tensors)


def samples(spec: Spec, n: int = 7, **options: Any) -> Case:
    """`sample_inputs` with exposures in (0.1, 0.95)."""
    case = sample_inputs(spec, n, **options)
    if "exposures" in case.tensors:
        case.tensors["exposures"] = 0.525 + 0.425 * case.tensors["exposures"]
    return case
