"""Operators under torch.library.opcheck and torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import SMALL, Spec, assert_near, sample_inputs, value_and_gradients
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func

import debias_ext

OPS = torch.ops.debias_ext
LOSS_SPECS = [spec for spec in SMALL if spec.op != "mf_score"]


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


def raw_call(spec: Spec, reduction: str, needs: int) -> tuple[Any, tuple[Any, ...]]:
    """The operator of a row loss with its positional arguments; arguments named in `needs` require a gradient."""
    case = sample_inputs(spec)
    needs &= (1 << len(spec.differentiable)) - 1
    tensors = [t.requires_grad_() if needs >> k & 1 else t for k, t in enumerate(case.tensors.values())]
    options: dict[str, tuple[Any, ...]] = {
        "pointwise_loss": ("mse", reduction),
        "ips_loss": ("propensity_logits" in spec.tensors, "bce", 0.2, None, reduction, True),
        "snips_loss": ("propensity_logits" in spec.tensors, "bce", None, 0.2, None, 0, True),
        "dr_loss": ("mae", reduction, True),
        "exposure_loss": ("exposure_logits" in spec.tensors, reduction, True),
        "relmf_loss": ("log", 0.2, reduction, True),
        "pair_loss": (0.2, "pda", reduction, True),
        "interd_loss": (-0.7, "soft", True, 1e-8, reduction, True),
    }
    return getattr(OPS, spec.op).default, (*tensors, *options[spec.op], needs)


@pytest.mark.parametrize("spec", LOSS_SPECS, ids=str)
@pytest.mark.parametrize(("reduction", "needs"), [("mean", 7), ("none", 1), ("sum", 0)])
def test_row_losses_pass_opcheck(spec: Spec, reduction: str, needs: int) -> None:
    torch.library.opcheck(*raw_call(spec, reduction, needs))


@pytest.mark.parametrize("with_bias", [True, False])
def test_scores_pass_opcheck(with_bias: bool) -> None:
    leaves = sample_inputs(SMALL[-1]).leaves()
    indices = [sample_inputs(SMALL[-1]).tensors[name] for name in ("users", "items")]
    extra = [leaves[name] if with_bias else None for name in ("user_bias", "item_bias", "offset")]
    factors = (leaves["user_factors"], leaves["item_factors"])
    torch.library.opcheck(OPS.mf_score.default, (*factors, *indices, *extra, 0.5, True))
    grad = torch.linspace(-1, 1, 7, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(OPS.mf_score_backward.default, (grad, *factors, *indices, 31 if with_bias else 3))


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_operators_called_by_hand_are_differentiable_twice(spec: Spec) -> None:
    if spec.op == "mf_score":
        names = ("user_factors", "item_factors", "users", "items", "user_bias", "item_bias", "offset")
        case = sample_inputs(spec)

        def by_hand(*leaves: Tensor) -> Tensor:
            tensors = {**case.tensors, **dict(zip(spec.differentiable, leaves, strict=True))}
            return OPS.mf_score(*[tensors[name] for name in names], 0.0, True)

        leaves = tuple(case.leaves().values())
    else:
        operator, arguments = raw_call(spec, "none", 7)
        leaves = tuple(arguments[:3])

        def by_hand(*values: Tensor) -> Tensor:
            return operator(*values, *arguments[3:])[0]

    assert torch.autograd.gradcheck(by_hand, leaves)
    assert torch.autograd.gradgradcheck(by_hand, leaves)


@pytest.mark.parametrize("spec", LOSS_SPECS, ids=str)
def test_saved_gradients_returned_by_an_operator_are_constants(spec: Spec) -> None:
    operator, arguments = raw_call(spec, "mean", 7)
    loss, *gradients = operator(*arguments)
    assert loss.requires_grad
    assert not any(gradient.requires_grad for gradient in gradients)


@pytest.mark.parametrize("spec", [s for s in LOSS_SPECS if len(s.differentiable) > 2], ids=str)
def test_needs_that_leave_out_a_leaf_raise(spec: Spec) -> None:
    operator, arguments = raw_call(spec, "mean", 7)
    with pytest.raises(RuntimeError, match=r"needs=1 leaves out arguments \[1, 2\]"):
        operator(*arguments[:-1], 1)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_compiled_equals_eager(spec: Spec) -> None:
    case = sample_inputs(spec)
    function, leaves = case.of_differentiable()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(value_and_gradients(compiled, leaves), value_and_gradients(function, leaves), strict=True):
        assert_near(got, wanted, 4)
    with torch.no_grad():
        assert_near(compiled(*leaves), function(*leaves), 4, scale=1.0)


def test_a_compiled_training_loss_equals_eager() -> None:
    case = sample_inputs(SMALL[-1], 50, dtype=torch.float32)
    rows = sample_inputs(LOSS_SPECS[-1], 50, dtype=torch.float32).tensors

    def loss(*leaves: Tensor) -> Tensor:
        scores = case.fused(**dict(zip(case.spec.differentiable, leaves, strict=True)))
        return debias_ext.dr_loss(**{**rows, "scores": scores}) + 0.1 * leaves[0].square().sum()

    leaves = tuple(case.leaves().values())
    compiled = torch.compile(loss, fullgraph=True)
    for got, wanted in zip(value_and_gradients(compiled, leaves), value_and_gradients(loss, leaves), strict=True):
        assert_near(got, wanted, 16)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_compiled_backward_is_made_of_saved_gradients(spec: Spec) -> None:
    calls: dict[str, set[str]] = {}

    def recorder(name: str) -> Callable[..., Any]:
        def record(graph: torch.fx.GraphModule, _: Any) -> Any:
            calls[name] = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
            return make_boxed_func(graph.forward)

        return record

    backend = aot_autograd(fw_compiler=recorder("forward"), bw_compiler=recorder("backward"))
    function, leaves = sample_inputs(spec).of_differentiable()
    torch.compile(function, fullgraph=True, backend=backend)(*leaves).sum().backward()
    assert f"debias_ext.{spec.op}.default" in calls["forward"]
    fused = {"aten.mul.Tensor"} if spec.op != "mf_score" else {"debias_ext.mf_score_backward.default"}
    assert calls["backward"] - {"<built-in function getitem>"} == fused


def test_sizes_are_not_baked_into_compiled_code() -> None:
    spec = LOSS_SPECS[-1]
    compiled = torch.compile(debias_ext.dr_loss, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for n in (7, 12, 300):
            case = sample_inputs(spec, n)
            assert_near(compiled(**case.tensors, **dict(spec.options)), case.fused(), 4)


def test_bad_values_raise_the_same_error_when_compiled() -> None:
    case = sample_inputs(LOSS_SPECS[-1])
    compiled = torch.compile(debias_ext.dr_loss, fullgraph=True, backend="aot_eager")
    tensors = {**case.tensors, "propensities": torch.zeros(7).double(), "observed": torch.ones(7, dtype=torch.bool)}
    with pytest.raises(ValueError, match="propensities must be in"):
        compiled(**tensors)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_meta_tensors_give_shapes(spec: Spec) -> None:
    case = sample_inputs(spec)
    value = case.map(lambda tensor: tensor.to("meta")).fused()
    assert value.is_meta
    assert value.shape == case.fused().shape
    assert value.dtype == torch.float64


def test_options_may_change_between_compiled_calls() -> None:
    case = sample_inputs(next(spec for spec in SMALL if spec.op == "ips_loss" and "propensities" in spec.tensors))
    compiled = torch.compile(lambda x: case.fused(clip_min=x), fullgraph=True, backend="aot_eager")
    for clip_min in (0.2, 0.4, 0.8, 1):
        torch.testing.assert_close(compiled(clip_min), case.fused(clip_min=clip_min))
    for bad in (float("nan"), 1.5):
        with pytest.raises(ValueError, match=r"^clip_min must be in \(0, 1\], got"):
            compiled(bad)
