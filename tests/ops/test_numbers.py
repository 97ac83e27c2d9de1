"""Numbers among the arguments: what is not a number, not finite or out of range raises and names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from block.cases import sample as block_sample
from lookahead.cases import factors, of_model
from lookahead.cases import sample as lookahead_sample
from mf_step.problem import make_problem
from ops.cases import SPECS, sample_inputs

import debias_ext
from debias_ext import MFOptimizer

Call = Callable[[Any], Any]
ANY, NOT_NEGATIVE, UNIT = "finite", "finite and not negative", r"in \(0, 1\]"


def of_operator(op: str, option: str, **options: Any) -> Call:
    spec = next(s for s in SPECS if s.op == op and set(options) <= set(dict(s.options)))
    case = sample_inputs(spec)
    return lambda value: case.fused(**{**options, option: value})


def weights(temperature: Any) -> Any:
    tables, indices = torch.zeros(3, 4), torch.zeros(3, 5, dtype=torch.int64)
    return debias_ext.additive_weights(*tables, *indices, temperature=temperature)


def step(option: str) -> Call:
    return lambda value: make_problem("sgd", n=5).step(**{option: value})


def with_lr(value: Any) -> Any:
    problem = make_problem("sgd", n=5)
    problem.optimizer.lr = value
    return problem.step()


def block(kind: str, **target: Any) -> Any:
    case = block_sample(kind)
    given = case.unobserved(case.tensors)
    return case.fused(unobserved=type(given)(**{**vars(given), **target}))


def lookahead(side: str, *keys: str, **options: Any) -> Call:
    def call(value: Any) -> Any:
        case = lookahead_sample(**options)
        holder = getattr(case, side)
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        return case.fused()

    return call


def lookahead_block(value: Any) -> Any:
    case = lookahead_sample(reductions=("sum", "mean"))
    case.lower["block"] = {"users": torch.arange(11), "items": torch.arange(9), "value": value}
    return case.fused()


def any_model(value: Any) -> Any:
    return of_model(lookahead_sample()).call(debias_ext.lookahead_loss_for, model_fn=factors, lr=value)


DR, RELMF = {"lower_source": "doubly_robust", "missing": 4}, {"lower_loss": "relmf", "lower_source": "exposures"}
ADAM = {"adam": True}
NUMBERS: dict[str, tuple[Call, str, str]] = {
    "mf_score-offset": (of_operator("mf_score", "offset"), "offset", ANY),
    "mf_step_-offset": (step("offset"), "offset", ANY),
    "mf_step_-l2": (step("l2"), "l2", NOT_NEGATIVE),
    "mf_step_-lr": (with_lr, "lr", NOT_NEGATIVE),
    "ips_loss-clip_min": (of_operator("ips_loss", "clip_min"), "clip_min", UNIT),
    "ips_loss-floor": (of_operator("ips_loss", "floor"), "floor", r"in \(0, 1\)"),
    "snips_loss-clip_min": (of_operator("snips_loss", "clip_min"), "clip_min", UNIT),
    "relmf_loss-clip_min": (of_operator("relmf_loss", "clip_min"), "clip_min", UNIT),
    "pair_loss-gamma": (of_operator("pair_loss", "gamma", kind="pda", gamma=0.2), "gamma", NOT_NEGATIVE),
    "interd_loss-gamma": (of_operator("interd_loss", "gamma"), "gamma", ANY),
    "additive_weights-temperature": (weights, "temperature", "positive and finite"),
    "block_loss-value": (lambda x: block("join", value=x), "unobserved.value", ANY),
    "block_loss-gamma": (lambda x: block("soft", gamma=x), "unobserved.gamma", ANY),
    "block_loss-beta": (lambda x: block("soft", beta=x), "unobserved.beta", ANY),
    "lookahead_loss-lr": (lookahead("options", "lr"), "lr", NOT_NEGATIVE),
    "lookahead_loss-l2": (lookahead("options", "l2"), "l2", NOT_NEGATIVE),
    "lookahead_loss-eps": (lookahead("options", "assumed", "eps", **ADAM), r"assumed\['eps'\]", NOT_NEGATIVE),
    "lookahead_loss-scale": (lookahead("lower", "missing", "scale", **DR), r"lower\['missing'\]\['scale'\]", ANY),
    "lookahead_loss-clip_min": (lookahead("lower", "clip_min", **RELMF), r"lower\['clip_min'\]", UNIT),
    "lookahead_loss-value": (lookahead_block, r"lower\['block'\]\['value'\]", ANY),
    "lookahead_loss_for-lr": (any_model, "lr", NOT_NEGATIVE),
    "MFOptimizer-lr": (lambda x: MFOptimizer("adam", x), "lr", NOT_NEGATIVE),
    "MFOptimizer-betas": (lambda x: MFOptimizer("adam", 0.1, (0.9, x)), "betas", r"in \[0, 1\)"),
    "MFOptimizer-initial_accumulator": (
        lambda x: MFOptimizer("adagrad", 0.1, initial_accumulator=x),
        "initial_accumulator",
        NOT_NEGATIVE,
    ),
}
every = pytest.mark.parametrize(("call", "name", "bounds"), NUMBERS.values(), ids=NUMBERS)


@every
def test_numbers_of_any_type_are_taken(call: Call, name: str, bounds: str) -> None:
    for good in (0.5, np.float32(0.5), *([] if UNIT[:3] in bounds or "[0, 1" in bounds else [1])):
        call(good)


@every
def test_what_is_no_number_is_named(call: Call, name: str, bounds: str) -> None:
    for bad in (True, np.bool_(1), "0.5", [0.5], 0.5j):
        with pytest.raises(ValueError, match=f"^{name} must be a number.*, got {type(bad).__name__}$"):
            call(bad)


@every
def test_what_is_out_of_bounds_is_named(call: Call, name: str, bounds: str) -> None:
    out = [-0.5, 1.0 if "1)" in bounds else 2.0] if "0, 1" in bounds else [] if bounds == ANY else [-0.5]
    for bad in (float("nan"), float("inf"), *out):
        with pytest.raises(ValueError, match=f"^{name} must be {bounds}, got {bad}$"):
            call(bad)


def test_the_state_of_adam_is_checked() -> None:
    for key, bad, match in (
        ("step", 1.5, r"assumed\['step'\] must be an integer, got 1.5"),
        ("step", True, r"assumed\['step'\] must be an integer, got True"),
        ("betas", 0.9, r"assumed\['betas'\] must be two numbers in \[0, 1\), got 0.9"),
        ("betas", (0.9, True), r"assumed\['betas'\] must be a number, got bool"),
    ):
        with pytest.raises(ValueError, match=f"^{match}"):
            lookahead("options", "assumed", key, **ADAM)(bad)
