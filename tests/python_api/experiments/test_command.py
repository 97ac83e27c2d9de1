"""`debiasrec experiment` from end to end on small data."""

from __future__ import annotations

import pandas as pd
import pytest

import debiasrec
from debiasrec.cli import main
from debiasrec.experiments import EXPERIMENTS
from debiasrec.training import DivergenceError


@pytest.fixture(autouse=True)
def small(monkeypatch, data, tiny):
    monkeypatch.setattr("debiasrec.cli.source.DataSource.load", lambda self: data)
    monkeypatch.setitem(EXPERIMENTS, "tiny", tiny)


def test_it_prints_its_tables_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "tiny", "--seeds", "1", "--methods", "mf"]) == 0
    assert "mf seed 0: best epoch" in capsys.readouterr().err
    assert main(["experiment", "tiny", "--seeds", "1"]) == 0
    shown = capsys.readouterr()
    assert "mf seed 0" not in shown.err
    assert "[2/2] ips large seed 0" in shown.err
    for words in ("A tiny experiment", "UAUC, debiased", "ips small", "table.csv"):
        assert words in shown.out
    table = pd.read_csv(tmp_path / "runs" / "tiny-simulated" / "table.csv")
    assert set(table["method"]) == {"mf", "ips small", "ips large"}


def test_interruption_ends_in_130_and_keeps_what_is_done(tmp_path, monkeypatch, capsys):
    def interrupt(self, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(debiasrec.methods.IPS, "fit", interrupt)
    assert main(["experiment", "tiny", "--seeds", "1", "--out", str(tmp_path)]) == 130
    assert "1 of 3 fits done and kept" in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "results.csv")["method"]) == {"mf"}


def test_a_row_that_diverges_is_named_below_the_tables(tmp_path, monkeypatch, capsys):
    def diverge(self, *args, **options):
        raise DivergenceError("training diverged in epoch 1")

    monkeypatch.setattr(debiasrec.methods.IPS, "fit", diverge)
    assert main(["experiment", "tiny", "--seeds", "1", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "DIVERGED, and in no figure: 1 of ips small, 1 of ips large." in " ".join(shown.out.split())
    assert "training diverged in epoch 1" in shown.err
