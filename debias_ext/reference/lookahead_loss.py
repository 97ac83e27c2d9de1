"""`lookahead_loss` in plain torch: the step is kept in the graph, and differentiated a second time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from debias_ext.reference._losses import error, inverse_propensity, reduce

Side = Mapping[str, Any]
Tables = dict[str, Tensor]


def lookahead_loss(
    user_factors: Tensor,
    item_factors: Tensor,
    *,
    lower: Side,
    upper: Side,
    lr: float,
    user_bias: Tensor | None = None,
    item_bias: Tensor | None = None,
    l2: float = 0.0,
    assumed: str | Mapping[str, Any] = "sgd",
) -> Tensor:
    given = {
        "user_factors": user_factors,
        "item_factors": item_factors,
        "user_bias": user_bias,
        "item_bias": item_bias,
    }
    with torch.enable_grad():
        tables = {name: table.detach().requires_grad_() for name, table in given.items() if table is not None}
        loss = lower_loss(tables, lower) + l2 * touched_norm(tables, lower)
        gradients = torch.autograd.grad(loss, list(tables.values()), create_graph=True, materialize_grads=True)
    stepped = {}
    for (name, table), gradient in zip(tables.items(), gradients, strict=True):
        stepped[name] = table.detach() - lr * direction(gradient, name, assumed)
    return reduce(rows(scores(stepped, upper), upper), upper.get("reduction", "mean"))


def direction(gradient: Tensor, name: str, assumed: str | Mapping[str, Any]) -> Tensor:
    """What the step multiplies by the learning rate."""
    if isinstance(assumed, str):
        return gradient
    first, second = assumed.get("betas", (0.9, 0.999))
    step = assumed["step"] + 1
    mean = (first * assumed["exp_avg"][name] + (1 - first) * gradient) / (1 - first**step)
    square = (second * assumed["exp_avg_sq"][name] + (1 - second) * gradient.square()) / (1 - second**step)
    return mean / (square.sqrt() + assumed.get("eps", 1e-8))


def scores(tables: Tables, side: Side) -> Tensor:
    users, items = side["users"], side["items"]
    s = (tables["user_factors"][users] * tables["item_factors"][items]).sum(1)
    if "user_bias" in tables:
        s = s + tables["user_bias"][users]
    if "item_bias" in tables:
        s = s + tables["item_bias"][items]
    return s


def rows(s: Tensor, side: Side) -> Tensor:
    """The weighted losses of a side, row by row."""
    targets, loss = side["targets"], side.get("loss", "mse")
    if loss in ("exposure", "relmf"):
        return click_error(s, side)
    if "weights" in side:
        return side["weights"] * error(s, targets, loss)
    if "propensities" not in side and "propensity_logits" not in side:
        return error(s, targets, loss)
    weights = inverse_propensity(
        side.get("propensities"), side.get("propensity_logits"), side.get("clip_min"), side.get("floor")
    )
    return weights * error(s, targets, loss)


def click_error(s: Tensor, side: Side) -> Tensor:
    """-R log(x p) - (1 - R) log(1 - x p), or softplus(s) - R / x s, where p = sigmoid(s)."""
    clicks = side["targets"]
    if side["loss"] == "relmf":
        return F.softplus(s) - clicks / side["exposures"].clamp(min=side.get("clip_min") or 0.0) * s
    if "exposures" in side:
        exposures, log_exposures = side["exposures"], side["exposures"].log()
    else:
        exposures, log_exposures = side["exposure_logits"].sigmoid(), F.logsigmoid(side["exposure_logits"])
    return -clicks * (log_exposures + F.logsigmoid(s)) - (1 - clicks) * torch.log1p(-exposures * s.sigmoid())


def imputed_error(s: Tensor, imputations: Tensor, loss: str) -> Tensor:
    """e(s, p): the imputations are residuals of the current scores for "mse", pseudo labels for "bce"."""
    return error(s, s.detach() + imputations if loss == "mse" else imputations, loss)


def lower_loss(tables: Tables, lower: Side) -> Tensor:
    s = scores(tables, lower)
    missing = scores(tables, lower["missing"]) if "missing" in lower else None
    loss = lower_loss_of(s, missing, lower)
    return loss + block_loss(tables, s, lower) if "block" in lower else loss


def lower_loss_of(s: Tensor, missing: Tensor | None, lower: Side) -> Tensor:
    """The lower loss of the scores of its rows and of its missing pairs."""
    loss, reduction = lower.get("loss", "mse"), lower.get("reduction", "mean")
    if "imputations" not in lower:
        return reduce(rows(s, lower), reduction)
    imputed = imputed_error(s, lower["imputations"], loss)
    observed = lower.get("observed", torch.ones_like(s, dtype=torch.bool))
    targets = torch.where(observed, lower["targets"], 0.0)
    propensities = torch.where(observed, lower["propensities"], 1.0)
    correction = (error(s, targets, loss) - imputed) / propensities
    total = reduce(imputed + torch.where(observed, correction, 0.0), reduction)
    if missing is None:
        return total
    imputed = imputed_error(missing, lower["missing"]["imputations"], loss)
    return total + lower["missing"].get("scale", 1.0) * reduce(imputed, reduction)


def block_loss(tables: Tables, s: Tensor, lower: Side) -> Tensor:
    """All pairs of the block, rated ones with a weight and a target of their own where these are given."""
    block = lower["block"]
    users, items = block["users"], block["items"]
    grid = {"users": users.repeat_interleave(len(items)), "items": items.repeat(len(users))}
    user_weight = block.get("user_weight", torch.ones_like(users, dtype=s.dtype))
    item_weight = block.get("item_weight", torch.ones_like(items, dtype=s.dtype))
    value = block["value"]
    every = (torch.outer(user_weight, item_weight).flatten() * (scores(tables, grid) - value).square()).sum()
    if "weights" not in block:
        return every
    constant = user_weight[places(lower["users"], users)] * item_weight[places(lower["items"], items)]
    constant = constant * (s - value).square()
    return every + (block["weights"] * (s - block["imputations"]).square() - constant).sum()


def places(indices: Tensor, block: Tensor) -> Tensor:
    """Where the indices stand in a block that holds each of them once."""
    order = block.argsort()
    return order[torch.searchsorted(block[order], indices)]


def touched_norm(tables: Tables, lower: Side) -> Tensor:
    """Half the squared norm of the distinct rows of the lower loss; biases have none."""
    parts = [lower, *(lower[part] for part in ("missing", "block") if part in lower)]
    touched = {name: torch.cat([part[name] for part in parts]).unique() for name in ("users", "items")}
    users, items = tables["user_factors"][touched["users"]], tables["item_factors"][touched["items"]]
    return (users.square().sum() + items.square().sum()) / 2
