"""Row gradients of mf_score as sparse tensors."""

from __future__ import annotations

import pytest
import torch
from conftest import Device
from ops.cases import SCORE_SPECS, SMALL, Case, Spec, sample_inputs
from torch import Tensor

TABLES = ("user_factors", "item_factors", "user_bias", "item_bias")


def gradients(case: Case, sparse_grad: bool) -> dict[str, Tensor]:
    leaves = case.leaves()
    case.fused(**leaves, sparse_grad=sparse_grad).square().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize("spec", SCORE_SPECS, ids=str)
@pytest.mark.parametrize("rows", [3, 100000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sparse_gradients_equal_dense_ones(spec: Spec, rows: int, dtype: torch.dtype, device: Device) -> None:
    case = sample_inputs(spec, 200, dtype=dtype, device=device.tensors, users=rows, items=rows + 1)
    dense, sparse = gradients(case, False), gradients(case, True)
    for name, wanted in dense.items():
        assert sparse[name].is_sparse is (name in TABLES)
        assert torch.equal(sparse[name].to_dense(), wanted)


def test_sparse_gradients_are_coalesced_with_sorted_distinct_rows(device: Device) -> None:
    case = sample_inputs(SMALL[-1], 200, device=device.tensors, users=1000, items=50)
    leaves = case.leaves()
    given = torch.autograd.grad(case.fused(**leaves, sparse_grad=True).sum(), [leaves[name] for name in TABLES])
    for name, gradient in zip(TABLES, given, strict=True):
        assert gradient.is_coalesced()
        assert gradient.shape == case.tensors[name].shape
        touched = case.tensors["users" if name.startswith("user") else "items"].unique()
        assert torch.equal(gradient.indices()[0], touched)
        assert gradient.values().shape == (len(touched), *gradient.shape[1:])


def test_only_the_asked_gradients_are_given(device: Device) -> None:
    case = sample_inputs(SMALL[-1], device=device.tensors)
    for name in case.spec.differentiable:
        leaf = case.leaves()[name]
        (got,) = torch.autograd.grad(case.fused(**{name: leaf}, sparse_grad=True).sum(), leaf)
        (wanted,) = torch.autograd.grad(case.reference(**{name: leaf}).sum(), leaf)
        torch.testing.assert_close(got.to_dense(), wanted)


def test_sparse_gradients_of_no_rows(device: Device) -> None:
    case = sample_inputs(SMALL[-1], 0, device=device.tensors)
    for name, gradient in gradients(case, True).items():
        assert gradient.shape == case.tensors[name].shape
        assert not gradient.to_dense().any()
        assert name not in TABLES or gradient._nnz() == 0


def test_a_sparse_optimiser_takes_them() -> None:
    case = sample_inputs(SMALL[-1], 100, users=40, items=30)
    updated = []
    for sparse_grad in (False, True):
        leaves = {name: leaf for name, leaf in case.leaves().items() if name != "offset"}
        optimizer = torch.optim.SGD(leaves.values(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            case.fused(**leaves, sparse_grad=sparse_grad).square().sum().backward()
            optimizer.step()
        updated.append(leaves)
    for name in updated[0]:
        torch.testing.assert_close(updated[0][name], updated[1][name])


def test_gradients_accumulate(device: Device) -> None:
    case = sample_inputs(SMALL[-1], 30, device=device.tensors)
    leaf = case.leaves()["user_factors"]
    value = case.fused(user_factors=leaf, sparse_grad=True).sum()
    value.backward(retain_graph=True)
    once = leaf.grad.to_dense().clone()
    value.backward()
    torch.testing.assert_close(leaf.grad.to_dense(), 2 * once)


def test_second_derivatives_compilation_and_transforms_are_refused() -> None:
    case = sample_inputs(SMALL[-1])
    leaf = case.leaves()["user_factors"]

    def score(factors: Tensor) -> Tensor:
        return case.fused(user_factors=factors, sparse_grad=True).sum()

    with pytest.raises(RuntimeError, match="second derivatives need sparse_grad=False"):
        torch.autograd.grad(score(leaf), leaf, create_graph=True)
    with pytest.raises(Exception, match="eager mode only"):
        torch.compile(score, backend="eager", fullgraph=True)(leaf)
    with pytest.raises(RuntimeError, match=r"torch\.func transforms"):
        torch.func.grad(score)(leaf.detach())
