"""The library of operators over emulated CUDA kernels: builds, computes, and hands errors to Python."""

from __future__ import annotations

import shutil

import pytest
import torch
from cuda_emulation import build

pytestmark = pytest.mark.skipif(
    shutil.which(build.CXX) is None, reason=f"the CUDA emulation needs a C++ compiler ({build.CXX})"
)
ORDERS = ("forward", "reverse", "random:7")


@pytest.fixture(scope="module")
def operators():
    torch.ops.load_library(build.build_emulated_ops())
    return torch.ops.debias_emulated


def test_results_do_not_depend_on_the_order_of_threads(operators, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, targets, weights = (torch.rand(3000, generator=generator) for _ in range(3))
    results = []
    for order in ORDERS:
        monkeypatch.setenv("DEBIAS_EMULATION_ORDER", order)
        results.append(operators.pointwise_loss(scores, targets, weights, "mse", "mean", 7))
    expected = (weights.double() * (scores.double() - targets.double()) ** 2).mean()
    torch.testing.assert_close(results[0][0].double(), expected, rtol=1e-6, atol=0)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_failed_launch_is_an_exception_in_python_and_the_next_launch_works(
    operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.linspace(0, 1, 10)
    monkeypatch.setenv("DEBIAS_EMULATION_ORDER", "sideways")
    with pytest.raises(
        RuntimeError, match="DEBIAS_EMULATION_ORDER must be forward, reverse or random:SEED, got sideways"
    ):
        operators.pointwise_loss(rows, rows, None, "mse", "sum", 1)
    monkeypatch.setenv("DEBIAS_EMULATION_ORDER", "forward")
    assert operators.pointwise_loss(rows, rows, None, "mse", "sum", 1)[0].item() == 0.0
