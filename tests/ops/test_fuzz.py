"""Random shapes, strides, dtypes, indices, NaN and infinities, the same tests for every operator of `fuzzing.py`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ops.fuzzing import ELSEWHERE, OPERATORS, RAISES_ON_NAN, SIZES, Argument, Fuzzed
from torch import Tensor

import debias_ext

quietly = settings(derandomize=True, deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
FLOATS = st.sampled_from([torch.float32, torch.float64])
INDICES = st.sampled_from([torch.int32, torch.int64])
ROWS = st.one_of(st.integers(0, 30), st.sampled_from([2048, 2049, 4097]))
SPECIAL = (math.nan, math.inf, -math.inf)


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, int]:
    drawn = {letter: draw(st.integers(1, 9)) for letter in SIZES}
    return {**drawn, "B": draw(ROWS), "D": draw(st.integers(0, 20)), "U": draw(st.sampled_from([1, 7, 5000]))}


@st.composite
def laid_out(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    """The same values in other places: a step, an offset, swapped axes, a negated view, or one value for all."""
    kind = draw(st.sampled_from(["as it is", "strided", "transposed", "negated", "expanded"]))
    if kind == "strided":
        step, start = draw(st.integers(2, 3)), draw(st.integers(0, 2))
        buffer = torch.zeros(start + step * max(1, tensor.numel()), dtype=tensor.dtype)
        view = buffer[start::step][: tensor.numel()].unflatten(0, tensor.shape) if tensor.dim() else buffer[start]
        return view.copy_(tensor)
    if kind == "transposed" and tensor.dim() == 2:
        return tensor.t().contiguous().t()
    if kind == "negated" and tensor.is_floating_point():
        return torch._neg_view(-tensor)
    if kind == "expanded" and tensor.dim() and tensor.shape[0]:
        return tensor[:1].expand(tensor.shape)
    return tensor


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous, and no views."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def requiring_gradients(fuzzed: Fuzzed, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    roles = {argument.name: argument for argument in fuzzed.arguments}
    return {
        name: tensor.requires_grad_() if roles[name].is_float and roles[name].role != "label" else tensor
        for name, tensor in tensors.items()
    }


def assert_same_bits(first: list[Tensor], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.shape == b.shape
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


def refusal(fuzzed: Fuzzed, tensors: dict[str, Tensor]) -> str | None:
    """The message of the ValueError or IndexError of a call, or None where it is accepted."""
    try:
        fuzzed(tensors)
    except (ValueError, IndexError) as error:
        return str(error)
    return None


def every(predicate: Any = lambda _: True) -> Any:
    """Parametrises over the operators, and their arguments that fulfil the predicate."""
    pairs = [(fuzzed, argument) for fuzzed in OPERATORS for argument in fuzzed.arguments if predicate(argument)]
    return pytest.mark.parametrize(("fuzzed", "argument"), pairs, ids=[f"{f}:{a.name}" for f, a in pairs])


@pytest.mark.parametrize("fuzzed", OPERATORS, ids=str)
@quietly
@given(data=st.data(), size=sizes(), dtype=FLOATS, index=INDICES)
def test_layouts_give_the_bits_of_contiguous_copies(
    fuzzed: Fuzzed, data: st.DataObject, size: dict[str, int], dtype: torch.dtype, index: torch.dtype
) -> None:
    drawn = {name: data.draw(laid_out(tensor)) for name, tensor in fuzzed.inputs(size, dtype, index).items()}
    wanted = fuzzed.outputs(requiring_gradients(fuzzed, copies(drawn)))
    leaves = requiring_gradients(fuzzed, {name: tensor.detach() for name, tensor in drawn.items()})
    assert_same_bits(fuzzed.outputs(leaves), wanted)


@every(lambda argument: argument.is_index)
@quietly
@given(
    values=st.lists(st.one_of(st.integers(-2, 9), st.sampled_from([2**31 - 1, -(2**31), 2**62])), max_size=20),
    index=INDICES,
    place=st.sampled_from([0, 4090, 20_000]),
)
def test_an_index_raises_exactly_when_it_is_out_of_range(
    fuzzed: Fuzzed, argument: Argument, values: list[int], index: torch.dtype, place: int
) -> None:
    values = [value for value in values if index == torch.int64 or -(2**31) <= value < 2**31]
    size = dict.fromkeys(SIZES, 8) | {"B": place + len(values)}
    tensors = fuzzed.inputs(size, torch.float32, index)
    tensors[argument.name][place:] = torch.tensor(values, dtype=index)
    bad = [k for k, value in enumerate(values) if not 0 <= value < 8]
    if not bad:
        assert all(output.isfinite().all() for output in fuzzed.outputs(requiring_gradients(fuzzed, tensors)))
        return
    match = rf"^{argument.name} must be in \[0, 8\), got {values[bad[0]]} at position {place + bad[0]}$"
    with pytest.raises(IndexError, match=match):
        fuzzed(tensors)


@every(lambda argument: argument.is_float and argument.role not in RAISES_ON_NAN)
@pytest.mark.parametrize("special", SPECIAL)
def test_nan_and_infinity_reach_their_rows_and_no_others(fuzzed: Fuzzed, argument: Argument, special: float) -> None:
    size = dict.fromkeys(SIZES, 6) | {"B": 2100}
    tensors = fuzzed.inputs(size, torch.float64, torch.int64)
    tensors = {name: torch.ones_like(t) if t.dtype == torch.bool else t for name, t in tensors.items()}
    clean = fuzzed.outputs(tensors)[0]
    value = tensors[argument.name]
    row = min(2, max(0, value.dim() * 2))
    value[(row, *[0] * (value.dim() - 1)) if value.dim() else ()] = special
    got = fuzzed.outputs(tensors)[0]
    touched = reached_rows(fuzzed, argument, tensors, row)
    if got.dim() == 0:
        touched = torch.tensor(True)
    if math.isnan(special):
        assert torch.equal(got.isnan(), touched)
    assert torch.equal(got[~touched], clean[~touched])
    assert touched.any()


@every(lambda argument: argument.is_float and argument.role in ("float", "logit", "score"))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_infinity_gives_the_limit_or_nothing_finite(fuzzed: Fuzzed, argument: Argument, sign: float) -> None:
    results = []
    for special in (sign * math.inf, sign * 1e15):
        tensors = fuzzed.inputs(dict.fromkeys(SIZES, 6) | {"B": 40}, torch.float64, torch.int64)
        tensors = {name: torch.ones_like(t) if t.dtype == torch.bool else t for name, t in tensors.items()}
        value = tensors[argument.name]
        value[(2, *[0] * (value.dim() - 1)) if value.dim() else ()] = special
        results.append(fuzzed.outputs(requiring_gradients(fuzzed, tensors)))
    for got, limit in zip(*results, strict=True):
        finite = got.isfinite()
        torch.testing.assert_close(got[finite], limit[finite], rtol=1e-9, atol=1e-9, equal_nan=True)


def reached_rows(fuzzed: Fuzzed, argument: Argument, tensors: dict[str, Tensor], row: int) -> Tensor:
    """The rows of the result that read the first element of this row of the argument."""
    n = len(tensors[next(a.name for a in fuzzed.arguments if a.dims == "B")])
    if argument.dims == "":
        return torch.ones(n, dtype=torch.bool)
    if argument.dims == "B":
        return torch.arange(n) == row
    index = next(a for a in fuzzed.arguments if a.role == argument.dims[0])
    return tensors[index.name] == row


@every(lambda argument: argument.role in RAISES_ON_NAN)
@pytest.mark.parametrize("special", [*SPECIAL, -0.5, 1.5])
def test_values_outside_the_range_raise_and_name_the_argument(
    fuzzed: Fuzzed, argument: Argument, special: float
) -> None:
    tensors = fuzzed.inputs(dict.fromkeys(SIZES, 6) | {"B": 2100}, torch.float64, torch.int64)
    tensors = {name: torch.ones_like(t) if t.dtype == torch.bool else t for name, t in tensors.items()}
    tensors[argument.name][2050] = special
    allowed = {
        "unit": 0 < special <= 1,
        "fraction": 0 <= special <= 1,
        "logit": not math.isnan(special),
        "score": not math.isnan(special),
        "nonnegative": 0 <= special < math.inf,
        "label": False,
    }
    if allowed[argument.role]:
        fuzzed(tensors)
        return
    with pytest.raises(ValueError, match=f"^{argument.name} must"):
        fuzzed(tensors)


@every()
@quietly
@given(data=st.data())
def test_a_shape_that_does_not_fit_raises_and_names_an_argument(
    fuzzed: Fuzzed, argument: Argument, data: st.DataObject
) -> None:
    size = {letter: 3 + k for k, letter in enumerate(SIZES)}
    tensors = fuzzed.inputs(size, torch.float32, torch.int64)
    right = tuple(tensors[argument.name].shape)
    shape = tuple(data.draw(st.lists(st.integers(0, 9), max_size=3)))
    if shape == right:
        return
    kept = copies(tensors)
    tensors[argument.name] = torch.zeros(shape, dtype=tensors[argument.name].dtype)
    refused = refusal(fuzzed, tensors)
    if refused is None:  # a table with another number of rows is as good
        assert argument.dims[:1] in ("U", "I", "L")
        assert shape[1:] == right[1:]
    else:
        assert refused.startswith(tuple(a.name for a in fuzzed.arguments))
    assert all(torch.equal(tensors[name], value) for name, value in kept.items() if name != argument.name)


@every()
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.int32, torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str
)
def test_another_dtype_raises_and_names_an_argument(fuzzed: Fuzzed, argument: Argument, dtype: torch.dtype) -> None:
    tensors = fuzzed.inputs(dict.fromkeys(SIZES, 4), torch.float64, torch.int64)
    if tensors[argument.name].dtype == dtype:
        return
    tensors[argument.name] = tensors[argument.name].to(dtype)
    refused = refusal(fuzzed, tensors)
    if refused is None:  # labels and groups may have several types
        assert fuzzed.op == "group_ranking"
    else:
        assert refused.startswith(tuple(a.name for a in fuzzed.arguments))


def test_every_public_operator_is_fuzzed() -> None:
    assert {fuzzed.op for fuzzed in OPERATORS} == set(debias_ext.__all__) - ELSEWHERE
