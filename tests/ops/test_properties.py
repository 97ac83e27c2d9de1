"""Random shapes, dtypes, strides and indices against the plain-torch twins."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ops.cases import LOSS_SPECS, SCORE_SPECS, Case, Spec, assert_near, sample_inputs, value_and_gradients
from torch import Tensor

import debias_ext
from debias_ext import reference

quietly = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
dtypes = st.sampled_from([torch.float32, torch.float64])
sizes = st.one_of(st.integers(0, 40), st.sampled_from([2047, 2048, 2049, 4096]))
seeds = st.integers(0, 2**31)
ULPS = {torch.float32: 256, torch.float64: 1024}


@st.composite
def strided(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    """The same values in another layout."""
    step, start = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    if tensor.dim() == 0:
        return tensor
    buffer = torch.zeros(start + step * tensor.numel() + 1, dtype=tensor.dtype)
    view = buffer[start : start + step * tensor.numel() : step][: tensor.numel()]
    view.copy_(tensor.reshape(-1))
    return (
        view.view(tensor.shape) if tensor.dim() == 1 else view.unflatten(0, tensor.shape) if tensor.numel() else tensor
    )


def assert_like_reference(case: Case) -> None:
    actual = value_and_gradients(*case.of_differentiable())
    expected = value_and_gradients(*case.double().of_differentiable("reference"))
    for got, wanted in zip(actual, expected, strict=True):
        assert_near(got, wanted, ULPS[got.dtype], scale=1e-3)


@quietly
@given(st.data(), st.sampled_from(LOSS_SPECS), sizes, dtypes, seeds)
def test_losses(data: st.DataObject, spec: Spec, n: int, dtype: torch.dtype, seed: int) -> None:
    case = sample_inputs(spec, n, dtype=dtype, seed=seed)
    assert_like_reference(Case(spec, {name: data.draw(strided(t)) for name, t in case.tensors.items()}))


@quietly
@given(
    st.data(),
    st.sampled_from(SCORE_SPECS),
    sizes,
    dtypes,
    st.sampled_from([torch.int32, torch.int64]),
    st.tuples(st.integers(1, 9), st.one_of(st.integers(1, 9), st.just(30000)), st.integers(0, 70)),
    seeds,
)
def test_scores(
    data: st.DataObject,
    spec: Spec,
    n: int,
    dtype: torch.dtype,
    index: torch.dtype,
    shape: tuple[int, int, int],
    seed: int,
) -> None:
    users, items, factors = shape
    case = sample_inputs(spec, n, dtype=dtype, index=index, users=users, items=items, factors=factors, seed=seed)
    assert_like_reference(Case(spec, {name: data.draw(strided(t)) for name, t in case.tensors.items()}))


@quietly
@given(st.lists(st.integers(-3, 12), min_size=1, max_size=30))
def test_an_index_is_refused_exactly_when_it_is_out_of_range(users: list[int]) -> None:
    factors = torch.ones(10, 2)
    bad = [k for k, user in enumerate(users) if not 0 <= user < 10]
    arguments = (factors, factors, torch.tensor(users), torch.zeros(len(users), dtype=torch.int64))
    if not bad:
        assert torch.equal(debias_ext.mf_score(*arguments), torch.full((len(users),), 2.0))
        return
    with pytest.raises(IndexError) as raised:
        debias_ext.mf_score(*arguments)
    assert str(raised.value) == f"users must be in [0, 10), got {users[bad[0]]} at position {bad[0]}"


@quietly
@given(
    st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=50),
    st.sampled_from(["mse", "mae", "bce"]),
    st.floats(0.0009765625, 1, width=32),
)
def test_weighted_errors_of_any_score(scores: list[float], loss: str, propensity: float) -> None:
    s = torch.tensor(scores, dtype=torch.float32)
    t, q = torch.full_like(s, 0.25), torch.full_like(s, propensity)
    got = debias_ext.ips_loss(s, t, q, loss=loss, reduction="none")
    wanted = reference.ips_loss(s.double(), t.double(), q.double(), loss=loss, reduction="none")
    torch.testing.assert_close(got.double(), wanted, rtol=2e-6, atol=2e-6 * 60 / propensity)
