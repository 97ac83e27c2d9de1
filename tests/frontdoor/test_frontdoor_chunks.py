"""frontdoor_aggregate with a head that is called: by chunks, in bounded memory."""

from __future__ import annotations

import pytest
import torch
from frontdoor.cases import problem
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from debias_ext import _frontdoor_chunks, frontdoor_aggregate, reference

EXCLUDE = ["", "self", "index"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_frontdoor_chunks, "CHUNK", 24)


def deep_head(hidden: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(hidden, 6), nn.Tanh(), nn.Linear(6, 1)).double()


@pytest.mark.parametrize("exclude", EXCLUDE)
@pytest.mark.parametrize("logits", [False, True])
def test_a_linear_head_called_is_the_fused_head(exclude: str, logits: bool, small_chunks: None) -> None:
    case = problem(6, 2, 6, 3, exclude=exclude, logits=logits)

    def called(context, mediators, attention, head, **options) -> Tensor:
        return frontdoor_aggregate(context, mediators, attention, lambda x: x @ head[0] + head[1], **options)

    for a, b in zip(case.value_and_gradients(called), case.value_and_gradients(frontdoor_aggregate), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("exclude", EXCLUDE)
@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_a_deep_head_against_the_whole_tensor(exclude: str, activation: str, small_chunks: None) -> None:
    case = problem(6, 2, 6, 3, exclude=exclude)
    head = deep_head(3)
    results = []
    for function in (frontdoor_aggregate, reference.frontdoor_aggregate):
        context, mediators, attention, *_ = case.leaves()
        value = function(context, mediators, attention, head, activation=activation, **case.options)
        wanted = (context, mediators, attention, *head.parameters())
        results.append([value.detach(), *torch.autograd.grad(value.square().sum(), wanted)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_gradcheck_twice(small_chunks: None) -> None:
    context, mediators, attention, *_ = problem(3, 2, 4, 3).leaves()
    head = deep_head(3)
    assert torch.autograd.gradcheck(lambda *t: frontdoor_aggregate(*t, head), (context, mediators, attention))
    assert torch.autograd.gradgradcheck(lambda *t: frontdoor_aggregate(*t, head), (context, mediators, attention))


@pytest.mark.parametrize(("context", "teachers", "hidden"), [(4096, 16, 32), (10**6, 8, 64), (1, 1, 1), (0, 3, 2)])
def test_chunks_hold_a_bounded_number_of_values(context: int, teachers: int, hidden: int) -> None:
    samples, rows = _frontdoor_chunks.chunk_sizes(context, teachers, hidden)
    assert samples >= 1
    assert rows >= 1
    assert samples * rows * teachers * hidden <= _frontdoor_chunks.CHUNK


def test_the_head_never_sees_more_than_a_chunk(small_chunks: None) -> None:
    seen = []
    head = deep_head(3)

    def watched(hidden: Tensor) -> Tensor:
        seen.append(hidden.numel())
        return head(hidden)

    context, mediators, attention, *_ = problem(6, 2, 11, 3).leaves()
    frontdoor_aggregate(context, mediators, attention, watched).sum().backward()
    assert max(seen) <= 24
    assert sum(seen) == 2 * 6 * 2 * 11 * 3  # once forward, once in the backward pass


@pytest.mark.parametrize("exclude", ["self", "index"])
def test_nothing_as_large_as_samples_times_context_is_made(exclude: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_frontdoor_chunks, "CHUNK", 1 << 8)
    case = problem(64, 1, 64, 2, exclude=exclude)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))
            return result

    context, mediators, attention, *_ = case.leaves()
    with Watch():
        value = frontdoor_aggregate(context, mediators, attention, deep_head(2), **case.options)
        value.sum().backward()
    assert max(sizes) < 64 * 64 / 2


def test_a_sample_without_context_rows_is_nan_and_alone_in_it() -> None:
    context, mediators, attention, *_ = problem(3, 2, 2, 3).leaves()
    index = torch.tensor([1, 1])
    value = frontdoor_aggregate(context, mediators, attention, deep_head(3), exclude_self=True, context_index=index)
    assert value.isnan().tolist() == [False, True, False]


def test_empty_inputs() -> None:
    for size in ((0, 3, 7, 4), (5, 0, 7, 4)):
        context, mediators, attention, *_ = problem(*size).leaves()
        value = frontdoor_aggregate(context, mediators, attention, deep_head(4))
        assert value.shape == (size[0],)
        assert not value.any()
    context, mediators, attention, *_ = problem(5, 3, 0, 4).leaves()
    assert frontdoor_aggregate(context, mediators, attention, deep_head(4)).isnan().all()


@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (7,), r"context must have 2 dimension\(s\), got shape \[7\]"),
        (1, (5, 3, 2), r"mediators must have shape \[N, K, 4\], got \[5, 3, 2\]"),
        (2, (5, 2), r"attention must have shape \[5, 3\], got \[5, 2\]"),
    ],
)
def test_a_bad_shape_is_named(position: int, shape: tuple[int, ...], message: str) -> None:
    tensors = list(problem().tensors[:3])
    tensors[position] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        frontdoor_aggregate(*tensors, deep_head(4))


@pytest.mark.parametrize(
    ("position", "dtype", "message"),
    [
        (0, torch.int64, "context must be float32 or float64, got int64"),
        (0, torch.float16, "context must be float32 or float64, got float16"),
        (1, torch.float32, "mediators must have the dtype of context, float64, got float32"),
        (2, torch.float32, "attention must have the dtype of context, float64, got float32"),
    ],
)
def test_a_bad_dtype_is_named_for_any_head(position: int, dtype: torch.dtype, message: str) -> None:
    *tensors, weight, bias = problem().tensors
    tensors[position] = tensors[position].to(dtype)
    for head in (deep_head(4), (weight, bias)):
        with pytest.raises(ValueError, match=f"^{message}"):
            frontdoor_aggregate(*tensors, head)
