"""The dicts that `lookahead_loss` takes, as the flat arguments of its operators."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debias_ext._inputs import check_tensor

SOURCES = ("weights", "propensities", "propensity_logits", "exposures", "exposure_logits")
ROWS = ("users", "items", "targets", "loss", "reduction", *SOURCES, "clip_min", "floor")
LOWER = (*ROWS, "imputations", "observed", "missing")
MISSING = ("users", "items", "imputations", "scale")
ADAM = ("exp_avg", "exp_avg_sq", "step", "betas", "eps")
TABLES = ("user_factors", "item_factors", "user_bias", "item_bias")


class Rows(NamedTuple):
    """One side: its tensors, and the options of its operator."""

    users: Tensor
    items: Tensor
    targets: Tensor
    source: Tensor | None
    imputations: Tensor | None
    observed: Tensor | None
    missing_scale: float
    options: tuple[Any, ...]  # loss, kind, clip_min, floor, reduction


def check_keys(name: str, given: Any, known: tuple[str, ...], required: tuple[str, ...]) -> None:
    """Raises a ValueError that names the first key that is unknown or missing."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} must be a dict, got {type(given).__name__}")
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f", did you mean {near[0]!r}?" if near else f", expected some of {', '.join(known)}"
            raise ValueError(f"{name} has an unknown key {key!r}{hint}")
    for key in required:
        if key not in given:
            raise ValueError(f"{name} must hold {key!r}, got {', '.join(map(repr, given)) or 'nothing'}")


def tensor_of(name: str, given: Mapping[str, Any], key: str, like: Tensor) -> Tensor:
    """given[key], a tensor on the device of `like`."""
    value = given[key]
    check_tensor(f"{name}[{key!r}]", value)
    if value.device != like.device:
        raise ValueError(f"{name}[{key!r}] must be on the device of user_factors, {like.device}, got {value.device}")
    return value


def _kind(name: str, side: Mapping[str, Any]) -> str:
    given = [key for key in SOURCES if side.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{name} must hold at most one of {', '.join(SOURCES)}, got {' and '.join(given)}")
    if side.get("imputations") is None:
        for key in ("observed", "missing"):
            if side.get(key) is not None:
                raise ValueError(f"{name}[{key!r}] needs {name}['imputations']")
        return given[0] if given else "unit"
    if given != ["propensities"]:
        raise ValueError(f"{name} must hold 'propensities' beside 'imputations', got {given[0] if given else 'none'}")
    return "doubly_robust"


def rows_of(name: str, side: Any, like: Tensor, known: tuple[str, ...]) -> Rows:
    """The tensors and options of lower or upper, the missing pairs appended to the others."""
    check_keys(name, side, known, ("users", "items", "targets"))
    kind = _kind(name, side)
    source_key = "propensities" if kind == "doubly_robust" else kind
    tensors = {
        key: None if side.get(key) is None else tensor_of(name, side, key, like)
        for key in ("users", "items", "targets", source_key, "imputations", "observed")
    }
    scale, missing = 1.0, side.get("missing")
    if missing is not None:
        scale = float(missing.get("scale", 1.0)) if isinstance(missing, Mapping) else 1.0
        tensors |= _with_missing(f"{name}['missing']", missing, tensors, like)
    options = (
        side.get("loss", "mse"),
        kind,
        side.get("clip_min"),
        side.get("floor"),
        side.get("reduction", "mean"),
    )
    users, items, targets, source, imputations, observed = tensors.values()
    assert users is not None
    assert items is not None
    assert targets is not None
    return Rows(users, items, targets, source, imputations, observed, scale, options)


def _with_missing(
    name: str, missing: Any, rated: Mapping[str, Tensor | None], like: Tensor
) -> dict[str, Tensor | None]:
    check_keys(name, missing, MISSING, MISSING[:3])
    joined: dict[str, Tensor | None] = {}
    for key in MISSING[:3]:
        extra, first = tensor_of(name, missing, key, like), rated[key]
        assert first is not None
        if extra.dim() != 1 or extra.shape != missing["users"].shape:
            raise ValueError(f"{name}[{key!r}] must be 1-d and as long as {name}['users'], got {list(extra.shape)}")
        if extra.dtype != first.dtype:
            raise ValueError(
                f"{name}[{key!r}] must have the dtype of the lower {key}, {first.dtype}, got {extra.dtype}"
            )
        if first.shape != rated["targets"].shape:  # type: ignore[union-attr]
            raise ValueError(f"lower[{key!r}] must have the shape of lower['targets'], got {list(first.shape)}")
        joined[key] = torch.cat((first, extra))
    return joined


def adam_of(assumed: Any, tables: tuple[Tensor | None, ...]) -> tuple[list[Tensor | None], tuple[Any, ...]]:
    """Adam's moments, table by table, and (step, beta1, beta2, eps); step 0 stands for plain gradient descent."""
    if isinstance(assumed, str):
        if assumed != "sgd":
            raise ValueError(f"assumed must be 'sgd' or a dict of Adam's state, got {assumed!r}")
        return [None] * 8, (0, 0.0, 0.0, 0.0)
    check_keys("assumed", assumed, ADAM, ADAM[:3])
    like = tables[0]
    assert like is not None
    moments: list[Tensor | None] = []
    for key in ADAM[:2]:
        name = f"assumed[{key!r}]"
        given = tuple(table for table, tensor in zip(TABLES, tables, strict=True) if tensor is not None)
        check_keys(name, assumed[key], given, given)
        moments += [tensor_of(name, assumed[key], table, like) if table in given else None for table in TABLES]
    step = int(assumed["step"])
    if step < 0:
        raise ValueError(f"assumed['step'] must not be negative, got {step}")
    first, second = assumed.get("betas", (0.9, 0.999))
    return moments, (step + 1, float(first), float(second), float(assumed.get("eps", 1e-8)))
