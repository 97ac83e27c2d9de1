"""lookahead_loss_for: the look-ahead step of models that are not tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lookahead.cases import MODES, Case, factors, gradients, of_model, sample
from torch import Tensor

import debias_ext
from debias_ext import reference

CASES = [mode for mode, options in MODES.items() if not options.get("adam")]


def hidden_layer(params: dict[str, Tensor], users: Tensor, items: Tensor) -> Tensor:
    """A neural factorisation machine: the product of the factors through one hidden layer."""
    product = params["user_factors"][users] * params["item_factors"][items]
    return torch.tanh(product @ params["hidden"]) @ params["out"] + params["item_bias"][items]


def model_case(mode: str) -> Case:
    case = sample(**{**MODES[mode], "bias": "item", "l2": 0.0})
    generator = torch.Generator().manual_seed(1)
    case.tables["hidden"] = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    case.tables["out"] = torch.randn(4, generator=generator, dtype=torch.float64)
    return of_model(case)


@pytest.mark.parametrize("mode", CASES)
@pytest.mark.parametrize("model", [factors, hidden_layer])
def test_every_mode_equals_the_double_backward(mode: str, model: Any) -> None:
    case = model_case(mode)

    def fused(*leaves: Tensor) -> Tensor:
        return case.call(debias_ext.lookahead_loss_for, *leaves, model_fn=model)

    def plain(*leaves: Tensor) -> Tensor:
        return case.call(reference.lookahead_loss_for, *leaves, model_fn=model)

    for got, wanted in zip(gradients(fused, case), gradients(plain, case), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)


def test_tables_give_the_same_as_the_fused_operator() -> None:
    case = sample(bias="item", l2=0.0)
    inputs = of_model(case)
    got = gradients(lambda *x: inputs.call(debias_ext.lookahead_loss_for, *x, model_fn=factors), inputs)
    for one, other in zip(got, gradients(case.fused, case), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_second_derivatives_and_unknown_keys_raise() -> None:
    case = model_case("mse-weights")
    leaves = case.leaves()
    value = case.call(debias_ext.lookahead_loss_for, *leaves, model_fn=hidden_layer)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(value, leaves, create_graph=True)
    case.lower["users"] = torch.zeros(19)
    with pytest.raises(ValueError, match="lower has an unknown key 'users'"):
        case.call(debias_ext.lookahead_loss_for, model_fn=hidden_layer)
