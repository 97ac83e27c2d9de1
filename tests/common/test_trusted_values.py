"""Values that a caller vouches for are not checked again on CUDA, and on the CPU they always are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import debias_ext
from debias_ext._inputs import validated
from debiasrec import load, methods

ON_CUDA = SimpleNamespace(is_cuda=True)


@pytest.fixture(autouse=True)
def no_capture(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)


def test_trust_ends_with_the_outermost_block_and_after_errors():
    assert validated(True, ON_CUDA)
    with debias_ext.trusted_values():
        with pytest.raises(ZeroDivisionError), debias_ext.trusted_values():
            1 / int(validated(True, ON_CUDA))
        assert not validated(True, ON_CUDA)
    assert validated(True, ON_CUDA)
    assert not validated(False, ON_CUDA)


def test_values_on_the_cpu_are_checked_all_the_same():
    with debias_ext.trusted_values(), pytest.raises(ValueError, match="propensities"):
        debias_ext.ips_loss(torch.ones(2), torch.ones(2), torch.tensor([0.5, 2.0]))


def test_the_steps_of_a_fit_are_trusted_and_what_comes_after_is_not(monkeypatch):
    trusted, step = [], methods.WMF.step
    monkeypatch.setattr(
        methods.WMF, "step", lambda self, batch: trusted.append(not validated(True, ON_CUDA)) or step(self, batch)
    )
    split = load("simulated", n_users=30, n_items=20, density=0.3, uniform_per_user=10).split("interd")
    methods.WMF(max_epochs=2, factors=2).fit(split)
    assert trusted
    assert all(trusted)
    assert validated(True, ON_CUDA)
