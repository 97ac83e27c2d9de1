"""The result pages say what their tables say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tool():
    specification = importlib.util.spec_from_file_location("results_pages", ROOT / "tools" / "results_pages.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tool, tiny, data, tmp_path, monkeypatch):
    """Pages of a tiny experiment that was run."""
    from debiasrec.experiments import run

    monkeypatch.setattr(tool, "EXPERIMENTS", {"tiny": tiny})
    run(tiny, data, tmp_path / "run", seeds=2, methods=["mf", "ips small"])
    assert tool.main([str(tmp_path / "run")], pages=tmp_path / "pages") == 0
    return tmp_path / "pages"


def test_the_committed_pages_are_what_their_tables_say(tool):
    assert tool.main(["--check"]) == 0


def test_a_page_has_our_figures_and_names_what_was_not_run(pages):
    text = (pages / "tiny.md").read_text()
    table = pd.read_csv(pages / "data" / "tiny-simulated.csv").query("method == 'mf' and metric == 'uauc'").iloc[0]
    assert f"| mf | ours | {table['mean']:.4f}".replace("| 0.", "| .") in text
    assert "Not run: ips large." in text
    assert "ips small against mf" in text
    assert "tiny.md" in (pages / "README.md").read_text()


def test_a_page_keeps_the_record_of_its_run_without_paths(pages):
    record = json.loads((pages / "data" / "tiny-simulated.json").read_text())
    assert record["seeds"] == [0, 1]
    assert set(record["methods"]) == {"mf", "ips small"}
    assert record["environment"]["packages"]["torch"]
    assert "command" not in record["environment"]
    assert "[tiny-simulated.json](data/tiny-simulated.json)" in (pages / "tiny.md").read_text()


def test_a_page_states_the_number_of_trials_where_every_row_had_as_many(tool, tiny, monkeypatch):
    record = {"tuned": "TPE", "criterion": "auc", "trials": 7}
    monkeypatch.setattr(tool, "preset_record", lambda method, dataset, split: record)
    assert "7 trials for every row" in tool.settings(tiny, "simulated", {"mf", "ips small"})[0]
    monkeypatch.setattr(tool, "preset_record", lambda method, *_: {**record, "trials": len(method)})
    assert "unequally" in tool.settings(tiny, "simulated", {"mf", "ips small"})[0]
    monkeypatch.setattr(tool, "preset_record", lambda method, *_: record if method == "mf" else "the paper's")
    assert "unequally" in tool.settings(tiny, "simulated", {"mf", "ips small"})[0]


def test_check_sees_a_page_that_is_out_of_date_and_writes_nothing(tool, pages, capsys):
    assert tool.main(["--check"], pages=pages) == 0
    page = pages / "tiny.md"
    page.write_text(page.read_text().replace("mf", "fm"))
    changed = page.read_text()
    assert tool.main(["--check"], pages=pages) == 1
    assert "tiny.md is out of date" in capsys.readouterr().err
    assert page.read_text() == changed
