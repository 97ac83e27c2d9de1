"""The measurement of AutoDebias at scale runs on a small set."""

from __future__ import annotations

import numpy as np
from debiasrec.benchmarks.methods import autodebias_scale


def test_a_measured_size_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(autodebias_scale, "UNIFORM", 100)
    autodebias_scale.measure(400, 300, 500)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.split()[:2] == ["500", "ratings"]
    assert np.isfinite(float(line.split()[-1]))


def test_the_simulated_pairs_are_distinct_and_the_uniform_parts_apart(monkeypatch):
    monkeypatch.setattr(autodebias_scale, "UNIFORM", 100)
    split = autodebias_scale.simulated(400, 300, 500)
    assert len(np.unique(split.train.pairs(300))) == len(split.train) == 500
    assert len(split.uniform_train) == len(split.uniform_validation) == 100
    assert not np.isin(split.uniform_train.pairs(300), split.uniform_validation.pairs(300)).any()
