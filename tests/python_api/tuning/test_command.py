"""`debiasrec tune` from end to end on small data."""

from __future__ import annotations

import json

import pytest

import debiasrec
from debiasrec.cli import main
from debiasrec.experiments import EXPERIMENTS, Arm, Experiment

FAST = ["--set", "max_epochs=2", "--set", "factors=2"]


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    data = debiasrec.load("simulated", n_users=80, n_items=40, density=0.2, uniform_per_user=20)
    monkeypatch.setattr("debiasrec.cli.source.DataSource.load", lambda self: data)


def test_every_method_gets_as_many_trials_and_its_entry_is_printed_and_kept(tmp_path, capsys):
    args = ["tune", "mf", "ips", *FAST, "--set", "ips.clip_min=0.02", "--trials", "3", "--out", str(tmp_path)]
    assert main(args) == 0
    shown = capsys.readouterr()
    assert shown.err.count("validation auc") == 6
    assert shown.out.count('"simulated/autodebias"') == 2
    for method in ("mf", "ips"):
        assert len(json.loads((tmp_path / f"{method}.trials.json").read_text())["trials"]) == 3
    entry = json.loads((tmp_path / "ips.json").read_text())["simulated/autodebias"]
    assert entry["params"]["max_epochs"] == 2
    assert entry["record"]["tuned"].startswith("TPE, 3 trials")


def test_every_method_of_an_experiment_is_searched_alike_and_twins_go_first(tmp_path, monkeypatch):
    asked = []

    def recorded(method, split, **options):
        asked.append((method, split.name, options["trials"], options["options"]))
        return debiasrec.tune(method, split, trials=1, options={"max_epochs": 1})

    monkeypatch.setattr("debiasrec.cli.tuning.tune_method", recorded)
    arms = {
        "weighed": Arm("bal_mf", {"target": "signed", "balance": 0.1}),
        "weighed more": Arm("bal_mf", {"target": "signed", "balance": 0.5}),
        "mf": Arm("mf", {"target": "signed", "lr": 0.02}),
        "from mf": Arm("mf_tfrom"),
    }
    experiment = Experiment("tiny", "A tiny experiment", "none", "interd", (("debiased", "uauc"),), arms)
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    args = ["tune", "--experiment", "tiny", "--trials", "7", "--set", "mf.lr=0.1", "--out", str(tmp_path)]
    assert main(args) == 0
    assert asked == [
        ("mf", "interd", 7, {"target": "signed", "lr": 0.1}),
        ("bal_mf", "interd", 7, {"target": "signed"}),
    ]


def test_methods_and_an_experiment_exclude_each_other(tmp_path, capsys):
    for named in ([], ["mf", "--experiment", "bal-table2"]):
        assert main(["tune", *named, "--out", str(tmp_path)]) == 2
        assert "methods or --experiment" in capsys.readouterr().err


def test_an_interrupted_search_says_how_to_go_on_and_does(tmp_path, monkeypatch, capsys):
    args = ["tune", "mf", *FAST, "--trials", "4", "--out", str(tmp_path)]
    fit, fits = debiasrec.methods.MF.fit, []

    def third_stops(self, *args, **options):
        fits.append(self)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(self, *args, **options)

    monkeypatch.setattr(debiasrec.methods.MF, "fit", third_stops)
    assert main(args) == 130
    assert "--resume" in capsys.readouterr().err
    assert main([*args, "--resume"]) == 0
    assert len(fits) == 5
    assert len(json.loads((tmp_path / "mf.trials.json").read_text())["trials"]) == 4


def test_without_optuna_the_error_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert main(["tune", "mf", *FAST, "--trials", "2", "--out", str(tmp_path)]) == 2
    assert "debias-ext[tune]" in capsys.readouterr().err
