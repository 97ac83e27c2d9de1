"""README and CONTRIBUTING say what is really there: the examples run, the commands and files exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import debias_ext.reference
import debiasrec
from debiasrec.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in CONSOLE for line in block.splitlines() if line.startswith("debiasrec ")]


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(table: str) -> list[str]:
    return [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """The files that README names, in the current folder; a small set for every name."""
    source = debiasrec.load("simulated", n_users=60, n_items=40, density=0.25)
    for name, part in (("ratings", source.biased), ("randomised", source.uniform)):
        frame = pd.DataFrame({"customer": part.users, "sku": part.items, "stars": part.ratings})
        frame["customer"] = "c" + frame["customer"].astype(str)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("debiasrec.data.load", lambda name, root=None, **options: source)


def test_the_operator_example_prints_the_metrics_it_names(capsys):
    first, second = [block for block in PYTHON if "import debiasrec" not in block]
    names: dict = {}
    for block in (first, second):
        exec(compile(block.replace("50_000", "2_000").replace("range(20)", "range(2)"), "README", "exec"), names)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("'auc'", "'ndcg'", "'ndcg@5'"))
    assert 0 < float(names["loss"]) < 100


@pytest.mark.filterwarnings("ignore:.*uniform rows are also biased rows")
def test_the_data_frame_example_ends_in_both_tests_and_recommendations(small_files, capsys):
    (block,) = [block for block in PYTHON if "from_frame" in block]
    quick = block.replace("make(name)", "make(name, max_epochs=2)")
    assert quick != block
    names: dict = {}
    exec(compile(quick, "README", "exec"), names)
    shown = capsys.readouterr().out
    assert "uauc" in shown
    assert all(name in shown for name in (*names["models"], names["biased"]["customer"].iloc[0]))
    assert len(PYTHON) == 3  # a further example needs its own test


def test_every_command_line_runs(small_files, capsys):
    assert {line.split()[1] for line in COMMANDS} == {
        "list",
        "data",
        "fit",
        "evaluate",
        "compare",
        "tune",
        "experiment",
    }
    for line in COMMANDS:
        words = shlex.split(line.replace("--trials 30", "--trials 2"))[1:]
        quick = ["--set", "max_epochs=1"] if words[0] in ("fit", "compare", "tune") else []
        assert main([*words, *quick]) == 0, (line, capsys.readouterr().err)
    for name in ("results.csv", "summary.csv", "run.json"):
        assert f"`{name}`" in README
        assert len(list(Path("runs").glob(f"*-*/{name}"))) == 3
    assert {path.name for path in Path("runs/tuned").glob("dr*")} == {"dr.json", "dr.trials.json"}
    for name in ("model.safetensors", "fit.json"):
        assert f"`{name}`" in README
        assert (Path("runs/ips") / name).is_file()


def test_the_tables_hold_every_operator_method_data_set_and_split():
    operators = {name.strip(" `") for name in first_cells(section("Operators"))}
    functions = {name for name in debias_ext.__all__ if name.islower()} - {"__version__", "has_cuda", "trusted_values"}
    assert operators == functions | {"PairSampler"}
    assert operators - set(debias_ext.reference.__all__) == {"mf_epoch_order", "PairSampler"}
    assert set(re.findall(r"`(\w+)`", "".join(first_cells(section("Methods"))))) == set(debiasrec.methods.REGISTRY)
    assert re.findall(r"`(\w+)`", "".join(first_cells(section("Data sets")))) == list(debiasrec.data.DATASETS)
    assert all(f"`{name}`" in section("How to read the results") for name in debiasrec.data.SPLITS)


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_named_files_folders_and_make_targets_exist(text):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    folders = r"(?:csrc|debias_ext|python_api|tests|benchmarks|examples|tools|docs|\.ci)"
    named = re.findall(rf"(?:`|\s)({folders}/[\w./]*)(?=[`\s,;:])", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_table_of_benchmarks_is_what_the_results_say():
    path = ROOT / "tools" / "readme_benchmarks.py"
    specification = importlib.util.spec_from_file_location("readme_benchmarks", path)
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    assert tool.main(["--check"]) == 0
    assert tool.with_table(README, "another table") != README
