"""Files: they read back to the same figures, and are there whole or not at all."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pandas as pd
import pytest

from debiasrec.evaluation.comparison import config_hash
from debiasrec.report.atomic import write_atomically
from debiasrec.report.files import read_results


def test_results_read_back_to_the_last_bit(make_comparison, tmp_path):
    comparison = make_comparison()
    comparison.save(tmp_path / "new" / "folder")
    read = read_results(tmp_path / "new" / "folder")
    pd.testing.assert_frame_equal(read, comparison.results, check_exact=True)


def test_summary_has_a_row_per_cell(make_comparison, tmp_path):
    comparison = make_comparison()
    comparison.save(tmp_path)
    read = pd.read_csv(tmp_path / "summary.csv", dtype={"mean": str})
    np.testing.assert_array_equal(read["mean"].astype(float), comparison.summary["mean"])
    assert not read.duplicated(["method", "test", "metric"]).any()
    assert set(read["baseline"]) == {"mf_combine"}


def test_blank_figures_stay_blank(make_comparison, tmp_path):
    make_comparison(tests={"biased": {"uauc": float("nan")}, "debiased": {"uauc": 0.6}}).save(tmp_path)
    assert "mf,0,biased,uauc,\n" in (tmp_path / "results.csv").read_text()
    assert read_results(tmp_path).query("test == 'biased'")["value"].isna().all()


def test_the_record_names_versions_seeds_hashes_and_counts(make_comparison, tmp_path):
    comparison = make_comparison()
    comparison.save(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    packages = record["environment"]["packages"]
    assert {"debias-ext", "torch", "numpy"} <= set(packages)
    assert all(packages.values())
    assert record["environment"]["threads"] >= 1
    assert record["environment"]["simd"]
    assert record["environment"]["python"]
    assert record["data"]["sha256"] == comparison.split.dataset.fingerprint()
    assert record["split"]["name"] == "interd"
    assert record["split"]["counts"][0]["rows"] == len(comparison.split.train)
    assert record["seeds"] == [0, 1, 2]
    assert record["complete"]
    assert record["baseline"] == "mf_combine"
    assert record["methods"]["ips"]["config_sha256"] == config_hash(comparison.configs["ips"])
    assert len(record["fits"]) == 18
    assert record["seconds"] == 27.0


def test_the_picture_is_drawn_with_one_test_or_both_and_needs_matplotlib(make_comparison, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    assert (tmp_path / "comparison.png") in make_comparison().save(tmp_path)
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    one_test = make_comparison(tests={"biased": {"uauc": float("nan")}, "debiased": {"uauc": 0.6}})
    assert any(path.suffix == ".png" for path in one_test.save(tmp_path / "one"))
    nothing = make_comparison(tests={"debiased": {"mse": 0.6}})
    assert not any(path.suffix == ".png" for path in nothing.save(tmp_path / "nothing"))
    real = builtins.__import__

    def without_matplotlib(name, *args, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    assert {path.suffix for path in make_comparison().save(tmp_path / "plain")} == {".csv", ".json"}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    file = write_atomically(tmp_path / "results.csv", "old")

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
