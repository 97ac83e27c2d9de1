"""Empty and tiny batches, layouts, precision, saturated and not-finite values, and the order of the work."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from lookahead.cases import MODES, TOLERANCE, Case, assert_equal_to_reference, gradients, sample
from torch import Tensor

from debias_ext import _library

SOME = [
    "mse-weights",
    "bce-propensity_logits",
    "dr-missing-bce",
    "dr-missing-mean",
    "adam-mse",
    "upper-bce-propensities",
]


@pytest.mark.parametrize("mode", SOME)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_dtype(mode: str, dtype: torch.dtype, device: Device) -> None:
    case = sample(**MODES[mode], dtype=dtype).map(lambda tensor: tensor.to(device.tensors))
    if dtype not in device.floats:
        with pytest.raises(ValueError, match="user_factors must be float32 or float64"):
            case.fused()
        return
    assert_equal_to_reference(case, TOLERANCE[dtype])


@pytest.mark.parametrize("sizes", [(0, 5), (6, 0), (0, 0), (1, 1), (1, 7), (7, 1)], ids=str)
@pytest.mark.parametrize("mode", ["mse-weights", "dr-mse", "dr-missing-mean", "no-bias"])
def test_empty_and_single_rows(mode: str, sizes: tuple[int, int], device: Device) -> None:
    case = sample(**MODES[mode], sizes=sizes).map(lambda tensor: tensor.to(device.tensors))
    value = case.fused()
    torch.testing.assert_close(value, case.reference(), equal_nan=True)
    assert_equal_to_reference(case, 1e-10, equal_nan=True)


@pytest.mark.parametrize("tables", [(1, 1, 1), (1, 5, 2), (300000, 3, 17), (50, 200000, 64), (4, 4, 0)], ids=str)
def test_shapes_of_tables(tables: tuple[int, int, int], device: Device) -> None:
    case = sample(tables=tables, sizes=(60, 40)).map(lambda tensor: tensor.to(device.tensors))
    assert_equal_to_reference(case, 1e-9)


def test_batches_that_share_no_row_give_no_hypergradient(device: Device) -> None:
    case = sample(tables=(20, 20, 3)).map(lambda tensor: tensor.to(device.tensors))
    for key in ("users", "items"):
        case.lower[key] = case.lower[key] % 10
        case.upper[key] = case.upper[key] % 10 + 10
    assert_equal_to_reference(case, 1e-12)
    got = dict(zip(case.names(), gradients(case.fused, case)[1:], strict=True))
    assert not got["lower", "weights"].any()
    assert not got["lower", "targets"].any()
    assert got["upper", "targets"].all()


def test_one_pair_many_times(device: Device) -> None:
    case = sample(tables=(2, 2, 3), sizes=(50, 30)).map(lambda tensor: tensor.to(device.tensors))
    for side in (case.lower, case.upper):
        side["users"], side["items"] = torch.ones_like(side["users"]), torch.zeros_like(side["items"])
    assert_equal_to_reference(case, 1e-9)


def test_arguments_need_not_be_contiguous(device: Device) -> None:
    def strided(tensor: Tensor) -> Tensor:
        wide = torch.empty(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype, device=tensor.device)
        wide[..., ::2] = tensor
        return wide[..., ::2]

    case = sample(**MODES["dr-missing-bce"], adam=True).map(lambda tensor: tensor.to(device.tensors))
    leaves = case.leaves()
    views = tuple(strided(leaf.detach()).requires_grad_() for leaf in leaves)
    assert not any(view.is_contiguous() for view in views)
    value, wanted_value = case.map(strided).fused(*views), case.fused(*leaves)
    assert torch.equal(value, wanted_value)
    wanted = torch.autograd.grad(wanted_value, leaves)
    assert all(torch.equal(a, b) for a, b in zip(torch.autograd.grad(value, views), wanted, strict=True))


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("source", ["weights", "propensity_logits"])
def test_saturated_scores_are_finite_and_right(loss: str, source: str, device: Device) -> None:
    case = sample(loss, source, loss, source, l2=0.0, dtype=torch.float32, tables=(6, 5, 4))
    case.tables["user_bias"] = torch.tensor([60.0, -60.0, 60.0, -60.0, 0.0, 30.0])
    case.tables["item_bias"].zero_()
    case.options["lr"] = 1e-3
    case = case.map(lambda tensor: tensor.to(device.tensors))
    assert all(bool(value.isfinite().all()) for value in gradients(case.fused, case))
    assert_equal_to_reference(case, 1e-4)


def test_nan_in_a_row_that_matters_propagates_and_elsewhere_is_not_read(device: Device) -> None:
    case = sample(sizes=(3, 1), tables=(8, 8, 2))
    case.lower["users"], case.lower["items"] = torch.tensor([1, 5, 2]), torch.tensor([3, 6, 2])
    case.upper["users"], case.upper["items"] = torch.tensor([1]), torch.tensor([2])
    case = case.map(lambda tensor: tensor.to(device.tensors))
    clean = gradients(case.fused, case)
    case.lower["targets"][1] = float("nan")  # user 5 and item 6 are not in the upper batch
    for got, wanted in zip(gradients(case.fused, case), clean, strict=True):
        assert torch.equal(got, wanted)
    case.lower["targets"][0] = float("nan")
    assert gradients(case.fused, case)[0].isnan()
    case = sample().map(lambda tensor: tensor.to(device.tensors))
    case.upper["targets"][2] = float("nan")
    assert case.fused().isnan()


def large(dtype: torch.dtype = torch.float32) -> Case:
    return sample("bce", "propensity_logits", "bce", "weights", sizes=(20000, 3001), tables=(700, 900, 20), dtype=dtype)


def test_the_same_bits_for_every_number_of_threads(one_and_two_threads: None) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        case = large()
        results.append(gradients(case.fused, case))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_simd_levels_agree(simd_levels: list[str]) -> None:
    results = []
    for level in simd_levels:
        _library.load().set_simd_level(level)
        case = large(torch.float64)
        results.append(gradients(case.fused, case))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_two_calls_give_the_same_bits(device: Device) -> None:
    case = sample(sizes=(200, 90), dtype=torch.float32).map(lambda tensor: tensor.to(device.tensors))
    assert all(torch.equal(a, b) for a, b in zip(gradients(case.fused, case), gradients(case.fused, case), strict=True))


@given(
    mode=st.sampled_from(sorted(MODES)),
    sizes=st.tuples(st.integers(0, 30), st.integers(0, 20)),
    tables=st.tuples(st.integers(1, 12), st.integers(1, 5000), st.integers(0, 9)),
    seed=st.integers(0, 1000),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_shape_equals_the_double_backward(
    mode: str, sizes: tuple[int, int], tables: tuple[int, int, int], seed: int
) -> None:
    assert_equal_to_reference(sample(**MODES[mode], sizes=sizes, tables=tables, seed=seed), 1e-9, equal_nan=True)
