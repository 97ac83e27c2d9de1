"""The dicts that `lookahead_loss` takes, as the flat arguments of its operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debias_ext._inputs import (
    NOT_NEGATIVE,
    NUMBER_OR_TENSOR,
    TABLES,
    check_keys,
    check_tensor,
    checked_betas,
    integer,
    number,
    one_of,
    propensity_bounds,
)

PROPENSITIES = ("propensities", "propensity_logits")
SOURCES = ("weights", *PROPENSITIES, "exposures", "exposure_logits")
UNIT, IMPUTED = "no weights", "imputations"
KINDS = {  # what the rows of each loss may be weighted by
    "mse": (UNIT, "weights", *PROPENSITIES, IMPUTED),
    "mae": (UNIT, "weights", *PROPENSITIES),
    "bce": (UNIT, "weights", *PROPENSITIES, IMPUTED),
    "exposure": ("exposures", "exposure_logits"),
    "relmf": ("exposures",),
}
OPERATOR_KINDS = {UNIT: "unit", IMPUTED: "doubly_robust"}  # the others have the name of their key
ROWS = ("users", "items", "targets", "loss", "reduction", *SOURCES, "clip_min", "floor")
LOWER = (*ROWS, "imputations", "observed", "missing", "block")
MISSING = ("users", "items", "imputations", "scale")
BLOCK = ("users", "items", "value", "user_weight", "item_weight", "weights", "imputations")
ADAM = ("exp_avg", "exp_avg_sq", "step", "betas", "eps")


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


def tensor_of(name: str, given: Mapping[str, Any], key: str, like: Tensor) -> Tensor:
    """given[key], a tensor on the device of `like`."""
    value = given[key]
    if not isinstance(value, Tensor):
        check_tensor(f"{name}[{key!r}]", value)
    if value.device != like.device:
        raise ValueError(f"{name}[{key!r}] must be on the device of user_factors, {like.device}, got {value.device}")
    return value


def checked_options(name: str, side: Mapping[str, Any]) -> tuple[str, str, float | None, float | None, str]:
    """Loss, kind of weights, clip_min, floor and reduction of a side; a ValueError where they contradict each other."""
    loss, reduction = side.get("loss", "mse"), side.get("reduction", "mean")
    one_of(f"{name}['loss']", loss, tuple(KINDS))
    one_of(f"{name}['reduction']", reduction, ("mean", "sum"))
    kind = _kind(name, side)
    if kind not in KINDS[loss]:
        raise ValueError(f"{name}['loss'] {loss!r} takes {', '.join(KINDS[loss])}, got {kind}")
    for key, takers in (("clip_min", (*PROPENSITIES, "exposures")), ("floor", PROPENSITIES)):
        if side.get(key) is not None and (kind not in takers or loss == "exposure"):
            raise ValueError(f"{name}[{key!r}] must not be given with {kind} and the loss {loss!r}")
    bounds = propensity_bounds(side.get("clip_min"), side.get("floor"), name + "[{!r}]")
    return loss, kind, *bounds, reduction


def _kind(name: str, side: Mapping[str, Any]) -> str:
    given = [key for key in SOURCES if side.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{name} must hold at most one of {', '.join(SOURCES)}, got {' and '.join(given)}")
    if side.get("imputations") is None:
        for key in ("observed", "missing"):
            if side.get(key) is not None:
                raise ValueError(f"{name}[{key!r}] needs {name}['imputations']")
        return given[0] if given else UNIT
    if given != ["propensities"]:
        raise ValueError(f"{name} must hold 'propensities' beside 'imputations', got {given[0] if given else 'none'}")
    return IMPUTED


def rows_of(name: str, side: Any, like: Tensor, known: tuple[str, ...]) -> Rows:
    """The tensors and options of lower or upper, the missing pairs appended to the others."""
    check_keys(name, side, known, ("users", "items", "targets"))
    loss, kind, *bounds, reduction = checked_options(name, side)
    source_key = "propensities" if kind == IMPUTED else kind
    tensors = {
        key: None if side.get(key) is None else tensor_of(name, side, key, like)
        for key in ("users", "items", "targets", source_key, "imputations", "observed")
    }
    scale, missing = 1.0, side.get("missing")
    if missing is not None:
        check_keys(f"{name}['missing']", missing, MISSING, MISSING[:3])
        scale = missing_scale(missing)
        tensors |= _with_missing(f"{name}['missing']", missing, tensors, like)
    options = (loss, OPERATOR_KINDS.get(kind, kind), *bounds, reduction)
    users, items, targets, source, imputations, observed = tensors.values()
    assert users is not None
    assert items is not None
    assert targets is not None
    return Rows(users, items, targets, source, imputations, observed, scale, options)


def missing_scale(missing: Mapping[str, Any]) -> float:
    return number("lower['missing']['scale']", missing.get("scale", 1.0))


def _with_missing(
    name: str, missing: Mapping[str, Any], rated: Mapping[str, Tensor | None], like: Tensor
) -> dict[str, Tensor | None]:
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


def block_of(block: Any, like: Tensor) -> tuple[list[Tensor | None], tuple[Tensor, Tensor]]:
    """The block's differentiable tensors in the order of the operator, and its users and items."""
    name = "lower['block']"
    check_keys(name, block, BLOCK, BLOCK[:3])
    given = {key: tensor_of(name, block, key, like) for key in BLOCK if isinstance(block.get(key), Tensor)}
    for key in BLOCK:
        if key not in given and block.get(key) is not None and key != "value":
            check_tensor(f"{name}[{key!r}]", block[key])
    users, items = given["users"], given["items"]
    value = given.get("value")
    if value is None:
        value = like.new_tensor(number(f"{name}['value']", block["value"], expected=NUMBER_OR_TENSOR))
    user_weight = given["user_weight"] if "user_weight" in given else like.new_ones(users.shape)
    item_weight = given["item_weight"] if "item_weight" in given else like.new_ones(items.shape)
    return [given.get("weights"), given.get("imputations"), user_weight, item_weight, value], (users, items)


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
    step = integer("assumed['step']", assumed["step"], at_least=0)
    betas = checked_betas("assumed['betas']", assumed.get("betas", (0.9, 0.999)))
    eps = number("assumed['eps']", assumed.get("eps", 1e-8), NOT_NEGATIVE)
    return moments, (step + 1, *betas, eps)
