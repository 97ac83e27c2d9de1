"""The command line from end to end on small data."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import debiasrec
from debiasrec.cli import app, main
from debiasrec.cli.parse import parse_settings
from debiasrec.cli.source import DataSource

FAST = ["--set", "max_epochs=2", "--set", "factors=2"]
COMMANDS = ["list", "data", "fit", "evaluate", "compare", "tune", "experiment", "bench", "doctor"]


@pytest.fixture
def own_files(tmp_path: Path) -> list[str]:
    """Options that name two small files with columns of their own."""
    source = debiasrec.load("simulated", n_users=60, n_items=40, density=0.25)
    for name, part in (("logged", source.biased), ("random", source.uniform)):
        frame = pd.DataFrame({"who": [f"u{user}" for user in part.users], "what": part.items, "stars": part.ratings})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    columns = ["--user-column", "who", "--item-column", "what", "--rating-column", "stars"]
    return [
        "--data",
        str(tmp_path / "logged.csv"),
        "--uniform",
        str(tmp_path / "random.csv"),
        *columns,
        "--drop-overlap",
    ]


def run(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": "80"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_help_names_every_command_and_none_prints_a_trace(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"\b{command}\b", text) for command in COMMANDS)
    for command in COMMANDS[:7]:
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        assert "Traceback" not in text


def test_list_names_methods_data_sets_splits_and_experiments():
    text = run("list")
    assert all(name in text for name in debiasrec.experiments.EXPERIMENTS)
    assert all(name in text for name in debiasrec.methods.REGISTRY)
    assert all(name in text for name in ("simulated", "amazon", "autodebias", "interd", "leave_one_out"))
    assert max(map(len, text.splitlines())) <= 80


def test_data_describes_both_parts_and_the_split(own_files):
    text = run("data", *own_files, "--split", "interd")
    assert "60 users, 40 items" in text
    assert "pairs in both" in text
    for part in ("train", "biased_test", "uniform_train", "uniform_test"):
        assert part in text


def test_fit_then_evaluate_on_the_data_and_split_of_the_fit(own_files, tmp_path):
    for method in ("mf", "ips"):
        run("fit", method, *own_files, "--split-seed", "3", *FAST, "--out", str(tmp_path / method))
    text = run("evaluate", str(tmp_path / "mf"), str(tmp_path / "ips"), "--k", "3")
    assert "split interd (seed 3)" in text
    assert "NDCG@3" in text
    assert "F1 of both" in text
    assert max(map(len, text.splitlines())) <= 80
    record = json.loads((tmp_path / "mf" / "fit.json").read_text())
    assert record["split"]["seed"] == 3
    assert record["data"]["name"] == "logged.csv"


def test_evaluate_refuses_data_that_changed_since_the_fit(own_files, tmp_path, capsys):
    run("fit", "mf", *own_files, *FAST, "--out", str(tmp_path / "mf"))
    logged = Path(own_files[1])
    pd.read_csv(logged).iloc[1:].to_csv(logged, index=False)
    assert main(["evaluate", str(tmp_path / "mf")]) == 2
    assert "data changed since the fit" in capsys.readouterr().err


def test_evaluate_warns_when_the_split_is_another_one(own_files, tmp_path, capsys):
    run("fit", "mf", *own_files, *FAST, "--out", str(tmp_path / "mf"))
    assert main(["evaluate", str(tmp_path / "mf"), *own_files, "--split-seed", "1"]) == 0
    assert "training rows may be tested" in capsys.readouterr().err


def test_fit_resumes_from_its_checkpoint(own_files, tmp_path):
    checkpoint = ["--checkpoint", str(tmp_path / "checkpoint")]
    run("fit", "mf", *own_files, *FAST, *checkpoint, "--out", str(tmp_path / "once"))
    run("fit", "mf", *own_files, *FAST, *checkpoint, "--resume", "--out", str(tmp_path / "again"))
    users, items = range(10), range(10)
    once, again = (debiasrec.load_model(tmp_path / name) for name in ("once", "again"))
    assert (once.predict(users, items) == again.predict(users, items)).all()


def test_compare_writes_its_files_and_fits_80_columns(own_files, tmp_path):
    settings = [*FAST, "--set", "ips.propensity=popularity"]
    text = run("compare", *own_files, "--methods", "mf,ips", "--seeds", "2", *settings, "--out", str(tmp_path / "out"))
    tables = text[text.index("UAUC") :].replace(str(tmp_path), "")
    assert max(map(len, tables.splitlines())) <= 80
    assert "±" in text
    assert "…" not in text
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(results.columns) == ["method", "seed", "test", "metric", "value"]
    assert set(results["method"]) == {"mf", "ips"}
    assert set(results["seed"]) == {0, 1}
    assert set(results["test"]) == {"biased", "debiased", "both"}
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["methods"]["ips"]["config"]["propensity"] == "popularity"
    assert record["methods"]["mf"]["config"]["max_epochs"] == 2
    assert record["data"]["name"] == "logged.csv"


def test_compare_without_uniform_data_shows_the_estimates(own_files, tmp_path):
    biased_only = own_files[:2] + own_files[4:-1]
    text = run("compare", *biased_only, "--methods", "mf", "--seeds", "1", *FAST, "--out", str(tmp_path / "out"))
    assert "SNIPS" in text
    assert "popularity propensities" in " ".join(text.split())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["compare", "--methods", "mf,ipss"], ["ipss", "ips"]),
        (["compare", "--methods", "mf", "--set", "mf.learning_rate=1"], ["learning_rate"]),
        (["compare", "--methods", "mf", "--set", "ips.lr=1"], ["ips not among"]),
        (["compare", "--k", "five"], ["--k", "five"]),
        (["compare", "--seeds", "0"], ["--seeds"]),
        (["compare", "--no-such-option"], ["--no-such-option"]),
        (["compare", "--data", "simulate"], ["simulate", "simulated"]),
        (["compare", "--data", "missing.csv"], ["missing.csv", "no such file"]),
        (["compare", "--scale", "1,5"], ["--scale", "simulated"]),
        (["compare", "--root", "data/coat"], ["--root", "simulated"]),
        (["data", "--item-column", "sku"], ["--item-column", "simulated"]),
        (["fit", "dr", "--out", "x", "--set", "joint=maybe"], ["joint", "true or false", "maybe"]),
        (["fit", "mf", "--out", "x", "--device", "gpu"], ["device", "gpu"]),
        (["compare", "--split", "inter"], ["inter", "interd"]),
        (["fit", "mf", "--out", "x", "--set", "lr"], ["OPTION=VALUE", "lr"]),
        (["data", "--data", "coat", "--root", "nowhere"], ["nowhere"]),
        (["evaluate", "nowhere", "--data", "simulated"], ["nowhere"]),
        (["evaluate", "nowhere"], ["nowhere", "--data"]),
        (["tune", "mff", "--out", "x"], ["mff", "mf"]),
        (["tune", "mf", "--out", "x", "--trials", "0"], ["--trials"]),
        (["tune", "mf", "--out", "x", "--set", "ips.lr=1"], ["ips not among"]),
        (["tune", "popularity", "--out", "x"], ["popularity"]),
        (["tune", "mf"], ["--out"]),
        (["experiment", "interd-tabel2"], ["interd-tabel2", "interd-table2"]),
        (["experiment", "interd-table2", "--methods", "interb"], ["interb", "interd"]),
        (["experiment", "interd-table2", "--data", "simulate"], ["simulate", "simulated"]),
        (["experiment", "interd-table2", "--root", "x"], ["--root", "simulated"]),
        (["shrink"], ["shrink"]),
    ],
)
def test_errors_are_one_readable_line_and_exit_code_2(args, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert all(word in captured.err for word in words)
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


def test_settings_are_read_as_what_they_mean():
    settings = ["a=.01", "b=1e-3", "c=3", "d=False", "e=none", "f=sgd", "g=true"]
    expected = {"a": 0.01, "b": 0.001, "c": 3, "d": False, "e": None, "f": "sgd", "g": True}
    assert parse_settings(settings) == expected
    assert type(parse_settings(settings)["c"]) is int


def test_the_warning_about_overlap_is_one_line_shown_once(own_files, tmp_path, capsys):
    args = [*own_files[:-1], "--methods", "mf,ips", "--seeds", "1", *FAST, "--out", str(tmp_path / "out")]
    assert main(["compare", *args]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(warned) == 1
    assert re.fullmatch(r"warning: \d+ of 900 uniform rows are also biased rows .*--drop-overlap.*", warned[0])


def test_an_unexpected_error_is_one_line_that_points_to_debug(capsys, monkeypatch):
    monkeypatch.setattr(debiasrec.data, "load", lambda *args, **options: {}["a\nb"])
    assert main(["data"]) == 2
    assert re.fullmatch(r"error: KeyError: .* \(--debug shows the trace\)\n", capsys.readouterr().err)


def test_interruption_ends_in_130_and_says_what_was_kept(own_files, tmp_path, monkeypatch, capsys):
    def interrupt(self, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(debiasrec.methods.IPS, "fit", interrupt)
    args = ["--methods", "mf,ips", "--seeds", "1", *own_files, *FAST, "--out", str(tmp_path / "out")]
    assert main(["compare", *args]) == 130
    captured = capsys.readouterr()
    assert "1 of 2 fits done and kept" in captured.err
    assert "INCOMPLETE" in captured.out
    assert set(pd.read_csv(tmp_path / "out" / "results.csv")["method"]) == {"mf"}
    assert main(["fit", "ips", *own_files, "--checkpoint", str(tmp_path / "c"), "--out", str(tmp_path / "m")]) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr(debiasrec.data, "load", interrupt)
    assert main(["data"]) == 130


@pytest.mark.parametrize(("flags", "trace"), [([], False), (["--debug"], True)])
def test_the_installed_program_exits_with_2_and_shows_the_trace_on_request(flags, trace, tmp_path):
    command = [sys.executable, "-m", "debiasrec", "data", "--data", "simulate", *flags]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False)
    assert ("Traceback" in result.stderr) is trace
    assert "did you mean" in result.stderr
    assert result.returncode == 2
    assert trace or result.stderr.count("\n") == 1


def test_examples_in_the_help_parse(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("debiasrec.cli.source.DataSource.load", lambda self: calls.append(self) or _stop())
    for command in COMMANDS[:7]:
        main([command, "--help"])
    shown = capsys.readouterr().out
    examples = re.findall(r"^ *debiasrec ((?:data|fit|compare|tune|experiment) \S.*)$", shown, re.MULTILINE)
    assert len(examples) == 11
    for example in examples:
        main(shlex.split(example))
    assert len(calls) == len(examples)


def _stop():
    raise debiasrec.DebiasRecError("far enough")


def test_bench_and_doctor_hand_over_to_their_programs(monkeypatch, capsys):
    handed = []
    benchmarks = types.ModuleType("debiasrec.benchmarks.run")
    benchmarks.main = lambda argv: handed.append(argv) or 3
    monkeypatch.setitem(sys.modules, "debiasrec.benchmarks", types.ModuleType("debiasrec.benchmarks"))
    monkeypatch.setitem(sys.modules, "debiasrec.benchmarks.run", benchmarks)
    assert main(["bench", "--quick", "--help", "--debug"]) == 3
    assert handed == [["--quick", "--help", "--debug"]]
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


def test_clicks_in_time_order_are_compared_under_their_own_split(tmp_path):
    lines = [f"{user}\t{(7 * user + 3 * step) % 30}\t5\t{step}" for user in range(40) for step in range(8)]
    (tmp_path / "u.data").write_text("\n".join(lines) + "\n")
    data = ["--data", "ml_100k", "--root", str(tmp_path), "--core", "2"]
    methods = ["--methods", "deepfm,causald", "--set", "causald.base=deepfm", "--set", "causald.groups=2"]
    text = run("compare", *data, *methods, "--seeds", "1", "--set", "max_epochs=1", "--out", str(tmp_path / "run"))
    assert "split leave_one_out" in text
    assert "Recall@5" in text
    assert "MSE" not in text.partition("Reading:")[0]
    with pytest.raises(debiasrec.DebiasRecError, match="--core: only with a named set"):
        DataSource("ratings.csv", core=3).load()
