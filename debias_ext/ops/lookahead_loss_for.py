"""The loss after one assumed step of any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from debias_ext._inputs import NOT_NEGATIVE, check_keys, number
from debias_ext.ops._lookahead_inputs import MISSING, ROWS, checked_options, missing_scale
from debias_ext.ops.dr_loss import dr_loss
from debias_ext.ops.exposure_loss import exposure_loss
from debias_ext.ops.ips_loss import ips_loss
from debias_ext.ops.pointwise_loss import pointwise_loss
from debias_ext.ops.relmf_loss import relmf_loss

Parameters = Mapping[str, Tensor]
Model = Callable[..., Tensor]
_UPPER = ("inputs", *ROWS[2:])
_LOWER = (*_UPPER, "imputations", "observed", "missing")
_MISSING = ("inputs", *MISSING[2:])


def lookahead_loss_for(
    model_fn: Model, params: Parameters, *, lower: Mapping[str, Any], upper: Mapping[str, Any], lr: float
) -> Tensor:
    """The upper loss at params - lr * d lower / d params, for any differentiable model.

    As `lookahead_loss`, for models without a kernel of their own, factorisation machines with a hidden layer say: the
    change of the lower scores along the gradient of the upper loss is one forward-mode pass through the model.

    Args:
        model_fn: `model_fn(params, *inputs)` gives the scores, [B]. It is run by torch.func.vjp and torch.func.jvp.
        params: tensors by name.
        lower: as in `lookahead_loss`, with inputs, a tuple, in place of users and items, here and in missing. No block.
        upper: likewise.
        lr: of the assumed step, plain gradient descent.

    Returns:
        The upper loss, 0-d. Gradients flow to every float tensor in lower and upper; the parameters get none.

    Raises:
        ValueError: an unknown key, or what the row losses refuse; the message names it.
        RuntimeError: a second derivative is asked for (create_graph, torch.func.grad).

    Notes:
        Costs two forward and two backward passes of the model and one forward-mode pass; no second backward pass. As
        deterministic as the model. What the losses need is checked as by their operators.

    Source:
        Wang et al. 2021, "Combating Selection Biases in Recommender Systems with a Few Unbiased Ratings" (LTD), eq.
        9-14.
    """
    check_keys("lower", lower, _LOWER, ("inputs", "targets"))
    check_keys("upper", upper, _UPPER, ("inputs", "targets"))
    checked_options("lower", lower)
    checked_options("upper", upper)
    missing = lower.get("missing")
    if missing is not None:
        check_keys("lower['missing']", missing, _MISSING, _MISSING[:2])
    lr = number("lr", lr, NOT_NEGATIVE)
    fixed = {name: parameter.detach() for name, parameter in params.items()}

    def lower_scores(parameters: Parameters) -> tuple[Tensor, ...]:
        parts = [lower] if missing is None else [lower, missing]
        return tuple(model_fn(parameters, *part["inputs"]) for part in parts)

    def upper_scores_of(parameters: Parameters) -> Tensor:
        return model_fn(parameters, *upper["inputs"])

    with torch.enable_grad():
        values, pull_back = torch.func.vjp(lower_scores, fixed)  # type: ignore[misc]
        scores = tuple(value.detach().requires_grad_() for value in values)
        slopes = torch.autograd.grad(_lower_loss(scores, lower), scores, create_graph=True)
        (gradient,) = pull_back(tuple(slope.detach() for slope in slopes))
        stepped = {name: fixed[name] - lr * gradient[name].detach() for name in fixed}
        value, pull_back_upper = torch.func.vjp(upper_scores_of, stepped)  # type: ignore[misc]
        upper_scores = value.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_rows(upper_scores, upper), upper_scores)
        (direction,) = pull_back_upper(slope)
        changes = torch.func.jvp(lower_scores, (fixed,), (direction,))[1]
        # -lr d/dphi sum_k D_k slope_k(phi), the mixed derivatives by those of the row losses
        hyper = -lr * sum((change.detach() * s).sum() for change, s in zip(changes, slopes, strict=True))
        return _Once.apply(_rows(upper_scores.detach(), upper) + (hyper - hyper.detach()))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("lookahead_loss_for: its gradients cannot be differentiated again")
        return grad


def _rows(scores: Tensor, side: Mapping[str, Any]) -> Tensor:
    targets, loss, reduction = side["targets"], side.get("loss", "mse"), side.get("reduction", "mean")
    if loss == "exposure":
        return exposure_loss(
            scores, targets, side.get("exposures"), exposure_logits=side.get("exposure_logits"), reduction=reduction
        )
    if loss == "relmf":
        clip_min = side.get("clip_min")
        return relmf_loss(scores, targets, side["exposures"], form="log", clip_min=clip_min, reduction=reduction)
    if side.get("propensities") is None and side.get("propensity_logits") is None:
        return pointwise_loss(scores, targets, side.get("weights"), loss=loss, reduction=reduction)
    return ips_loss(
        scores,
        targets,
        side.get("propensities"),
        propensity_logits=side.get("propensity_logits"),
        loss=loss,
        clip_min=side.get("clip_min"),
        floor=side.get("floor"),
        reduction=reduction,
    )


def _lower_loss(scores: tuple[Tensor, ...], lower: Mapping[str, Any]) -> Tensor:
    if lower.get("imputations") is None:
        return _rows(scores[0], lower)
    loss, reduction = lower.get("loss", "mse"), lower.get("reduction", "mean")

    def pseudo_targets(s: Tensor, imputations: Tensor) -> Tensor:
        return s.detach() + imputations if loss == "mse" else imputations

    s = scores[0]
    observed = lower.get("observed")
    total = dr_loss(
        s,
        lower["targets"],
        pseudo_targets(s, lower["imputations"]),
        lower["propensities"],
        torch.ones_like(s, dtype=torch.bool) if observed is None else observed,
        loss=loss,
        reduction=reduction,
    )
    if len(scores) == 1:
        return total
    missing = lower["missing"]
    imputed = pointwise_loss(
        scores[1], pseudo_targets(scores[1], missing["imputations"]), loss=loss, reduction=reduction
    )
    return total + missing_scale(missing) * imputed
