"""The table of epochs: equal first steps on both sides, and the operators come back."""

from __future__ import annotations

import pandas as pd
import pytest
from debiasrec.benchmarks.harness import UnequalResults
from debiasrec.benchmarks.methods import bench_epoch
from debiasrec.benchmarks.plain_operators import TRAINING, plain_torch

import debias_ext
import debiasrec


@pytest.fixture(scope="module")
def split():
    data = debiasrec.load("simulated", n_users=40, n_items=30, density=0.2, uniform_per_user=20, seed=1)
    return data.split("ltd", 0)


@pytest.mark.parametrize("name", bench_epoch.METHODS)
def test_a_method_takes_the_same_first_step_in_plain_torch(split, name):
    result = bench_epoch.measure(name, split, rounds=1, limit=0.0)
    assert 0 < result.plain_share <= 1
    assert result.plain_steps == 1
    assert name in bench_epoch.line(result)


def test_another_loss_is_an_error(split, monkeypatch):
    twin = debias_ext.reference.mf_step_
    monkeypatch.setattr(debias_ext.reference, "mf_step_", lambda *a, **k: 2 * twin(*a, **k))
    with pytest.raises(UnequalResults, match="mf: the first step has loss"):
        bench_epoch.measure("mf", split, rounds=1, limit=0.0)


def test_the_operators_come_back():
    operators = {name: getattr(debias_ext, name) for name in TRAINING}
    with plain_torch():
        assert all(getattr(debias_ext, name) is not operator for name, operator in operators.items())
    assert {name: getattr(debias_ext, name) for name in TRAINING} == operators


def test_the_command_writes_a_row_per_method_and_refuses_what_is_no_trained_method(tmp_path):
    arguments = ["--quick", "--data", "simulated", "--out", str(tmp_path), "--only", "mf"]
    for other in ("no_such", "item_mean"):
        with pytest.raises(SystemExit):
            bench_epoch.main([*arguments, other])
    assert bench_epoch.main(arguments) == 0
    table = pd.read_csv(tmp_path / "epochs.csv")
    assert table[["data", "method"]].to_numpy().tolist() == [["simulated", "mf"]]
    assert (table["ratio"] > 0).all()


def test_a_new_measurement_replaces_that_of_the_same_method_alone(tmp_path):
    old, other = (bench_epoch.EpochResult("d", name, "preset", 3, *[1.0] * 6, 1, 1.0) for name in ("mf", "ips"))
    bench_epoch.write(tmp_path / "epochs.csv", [old, other])
    bench_epoch.write(tmp_path / "epochs.csv", [bench_epoch.EpochResult("d", "mf", "preset", 3, *[2.0] * 6, 1, 1.0)])
    table = pd.read_csv(tmp_path / "epochs.csv").set_index("method")
    assert table["p50"].to_dict() == {"ips": 1.0, "mf": 2.0}
