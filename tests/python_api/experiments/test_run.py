"""Running an experiment: what is kept, what is not run again, what stands in the tables."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

import debiasrec
from debiasrec.experiments import published, run
from debiasrec.experiments.figure import figure_png
from debiasrec.experiments.table import curves
from debiasrec.experiments.view import outcome_view, with_spread
from debiasrec.methods import MF


def test_the_table_is_mean_sd_and_the_paired_test_by_hand(tiny, data, tmp_path):
    outcome = run(tiny, data, tmp_path, seeds=3)
    values = outcome.results.pivot(index="seed", columns=["method", "test", "metric"], values="value").astype(float)
    assert len(outcome.table) == 9
    for row in outcome.table.itertuples():
        own = values[row.method, row.test, row.metric]
        assert row.mean == pytest.approx(own.mean())
        assert row.sd == pytest.approx(own.std(ddof=1))
        assert row.n == 3
        if row.method == "mf":
            assert row.against == ""
            assert np.isnan(row.p_value)
        elif row.metric != "lr":
            other = values["mf", row.test, row.metric]
            assert row.difference == pytest.approx((own - other).mean())
            assert row.p_value == pytest.approx(stats.ttest_rel(own, other).pvalue)
    measured = outcome.table.query("metric == 'lr'").set_index("method")["mean"]
    assert measured["ips small"] == pytest.approx(0.001)


def test_what_is_in_the_folder_is_not_run_again(tiny, data, tmp_path, monkeypatch):
    run(tiny, data, tmp_path, seeds=1, methods=["mf"])
    fitted = []
    fit = MF.fit
    monkeypatch.setattr(
        debiasrec.methods.base.Method,
        "fit",
        lambda self, *args, **options: fitted.append((self.name, self.seed)) or fit(self, *args, **options),
    )
    whole = run(tiny, data, tmp_path, seeds=2)
    assert fitted == [("ips", 0), ("ips", 0), ("mf", 1), ("ips", 1), ("ips", 1)]
    again = run(tiny, data, tmp_path, seeds=2)
    assert len(fitted) == 5
    pd.testing.assert_frame_equal(whole.table, again.table)
    subset = run(tiny, data, tmp_path, seeds=1, methods=["mf"])
    pd.testing.assert_frame_equal(subset.table, again.table)


def test_an_interrupted_run_goes_on(tiny, data, tmp_path, monkeypatch):
    fit = MF.fit

    def stopping(self, *args, **options):
        if self.seed == 1:
            raise KeyboardInterrupt
        return fit(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(debiasrec.methods.base.Method, "fit", stopping)
        with pytest.raises(KeyboardInterrupt, match="3 of 6 fits"):
            run(tiny, data, tmp_path, seeds=2)
    resumed = run(tiny, data, tmp_path, seeds=2)
    once = run(tiny, data, tmp_path / "once", seeds=2)
    pd.testing.assert_frame_equal(resumed.table, once.table)


def test_an_unknown_row_is_told_the_nearest(tiny, data, tmp_path):
    with pytest.raises(debiasrec.DebiasRecError, match="unknown row of tiny 'ips smal'; did you mean 'ips small'"):
        run(tiny, data, tmp_path, seeds=1, methods=["ips smal"])


def test_files_and_figure(tiny, data, tmp_path):
    outcome = run(tiny, data, tmp_path, seeds=2)
    assert (tmp_path / "curves.csv").is_file()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"results.csv", "summary.csv", "run.json", "experiment.json", "table.csv", "curves.csv"} <= names
    drawn = curves(outcome.results, tiny)
    assert set(drawn["series"]) == {"mf", "ips"}
    assert list(drawn.query("panel == 'uauc' and series == 'ips'")["x"]) == [0.001, 0.02]
    pytest.importorskip("matplotlib")
    assert figure_png(drawn, tiny.figure).startswith(b"\x89PNG")
    assert figure_png(drawn.iloc[:0], tiny.figure) is None


def test_parts_run_on_their_own_splits(tiny, data, tmp_path):
    from dataclasses import replace

    def halves(split):
        rows = split.train
        return {"half": replace(split, train=rows.take(slice(0, len(rows) // 2))), "whole": split}

    outcome = run(replace(tiny, parts=halves), data, tmp_path, seeds=1)
    assert list(outcome.table["part"].unique()) == ["half", "whole"]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"half", "whole"}
    alone = run(tiny, data, tmp_path / "alone", seeds=1).table.drop(columns="part")
    whole = outcome.table.query("part == 'whole'").drop(columns="part").reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, alone)


def test_published_figures_stand_beside_ours(tiny, data, tmp_path, monkeypatch):
    figures = [
        ("tiny", "paper", "simulated", "mf", "debiased", "uauc", 0.75, 0.01, "Table 1"),
        ("tiny", "program", "simulated", "ips small", "both", "f1_uauc", 0.5, np.nan, "a program"),
        ("other", "paper", "simulated", "ips small", "debiased", "uauc", 0.1, np.nan, "Table 2"),
        ("tiny", "paper", "coat", "ips small", "debiased", "uauc", 0.2, np.nan, "Table 1"),
    ]
    known = pd.DataFrame(figures, columns=published().columns)
    monkeypatch.setattr("debiasrec.experiments.literature.published", lambda: known)
    outcome = run(tiny, data, tmp_path, seeds=2)
    table = outcome.table.set_index(["method", "test", "metric"])
    assert table.loc[("mf", "debiased", "uauc"), ["paper", "paper_sd"]].tolist() == [0.75, 0.01]
    assert table.loc[("ips small", "both", "f1_uauc"), "program"] == 0.5
    assert table["paper"].notna().sum() == table["program"].notna().sum() == 1
    assert ".7500±.0100" in text(outcome)


def test_the_text_fits_80_columns(tiny, data, tmp_path):
    lines = text(run(tiny, data, tmp_path, seeds=2)).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)


def test_figures_keep_their_digits():
    assert with_spread(0.7563, 0.00654) == ".7563±.0065"
    assert with_spread(1.951, float("nan")) == "1.9510"
    assert with_spread(7.07e-7, 1.2e-8) == "7.07e-07±1.2e-08"
    assert with_spread(2441.0, 12.0) == "2.44e+03±12"
    assert with_spread(float("nan"), 0.1) == ""


def text(outcome) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(outcome_view(outcome))
    return console.file.getvalue()
