"""The command runs end to end at tiny sizes, and leaves files that can be read back."""

from __future__ import annotations

import csv

import pytest
import torch
from debiasrec.benchmarks import run
from debiasrec.benchmarks.harness import OURS, Settings, check_equal
from debiasrec.benchmarks.machine import peak_bytes
from debiasrec.benchmarks.results import COLUMNS, PROVENANCE, Result, append_csv, read_csv

TINY = 1e-3
OPERATORS = ["ips_loss", "dr_loss", "snips_loss", "pointwise_loss", "mf_score"]


def result(**changes) -> Result:
    values = {
        "name": "ips_loss", "work": "forward", "size": 8, "alternative": "torch eager", "repeats": 7, "p20": 1 / 3,
        "p50": 0.5, "p80": 0.75, "ratio": 4.5, "must": 4.0, "aim": 6.0, "bytes_per_s": 1e9, "copy_bytes_per_s": 2e9,
    }  # fmt: skip
    return Result(**{**values, **changes})


def test_the_quick_run_prints_both_tables_and_writes_the_files(tmp_path, capsys):
    threads = torch.get_num_threads()
    arguments = ["--quick", "--only", *OPERATORS, "--threads", "1", "--out", str(tmp_path)]
    assert run.main(arguments, size_factor=TINY) == 0
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    for words in ("torch eager", "nn.Embedding", "Growth", "no verdict", "benchmarks.csv"):
        assert words in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert (tmp_path / "benchmarks.png").read_bytes().startswith(b"\x89PNG")
    rows = read_csv(tmp_path / "benchmarks.csv")
    assert {row.name for row in rows} == {benchmark.name for benchmark in run.chosen(OPERATORS)}
    for name in {row.name for row in rows}:
        assert sum(row.name == name and row.ours for row in rows) == 5


def test_every_benchmark_compares_equal_things_and_has_goals_for_alternatives_that_exist():
    for benchmark in run.all_benchmarks().values():
        case = benchmark.build(64, Settings(scale=TINY))
        assert next(iter(case.alternatives)) == OURS
        assert len(case.alternatives) > 1 or benchmark.peak_bytes is not None
        assert set(benchmark.goals) <= set(case.alternatives)
        eager = benchmark.build(64, Settings(scale=TINY, compiled=False))
        check_equal(eager)


def test_the_memory_of_a_call_is_what_it_holds_at_once():
    taken = peak_bytes(lambda: [torch.ones(10 << 20) for _ in range(2)], "cpu")  # 40 MB each
    assert 75e6 < taken < 120e6
    assert peak_bytes(lambda: None, "cpu") < 5e6


def test_memory_that_earlier_calls_left_on_the_heap_is_counted():
    def many() -> list[torch.Tensor]:
        return [torch.ones(15_000) for _ in range(1_000)]  # 60 kB each

    left = many()
    above = torch.ones(15_000)  # keeps the heap from shrinking by itself
    del left
    assert 55e6 < peak_bytes(many, "cpu") < 90e6
    del above


@pytest.mark.parametrize(("peak", "verdict"), [(199, "met"), (200, "MISSED")])
def test_memory_has_a_verdict_and_is_printed(peak, verdict, capsys):
    from debiasrec.benchmarks.table import report
    from rich.console import Console

    row = result(alternative=OURS, must=None, aim=None, ratio=1.0, peak_bytes=peak * 10**6, most_bytes=200 * 10**6)
    Console(width=100).print(report([row], [], full_size=True))
    printed = capsys.readouterr().out
    assert verdict in printed
    assert f"{peak} MB beside the inputs (at most 200 MB)" in printed


def test_a_csv_file_grows_and_reads_back_to_the_last_bit(tmp_path):
    path, stamp = tmp_path / "new" / "benchmarks.csv", dict.fromkeys(PROVENANCE, "x")
    first, second = result(), result(alternative=OURS, must=None, aim=None, ratio=1.0)
    append_csv(path, [first], stamp)
    append_csv(path, [second], stamp)
    third = result(alternative=OURS, peak_bytes=5, most_bytes=200)
    append_csv(path, [third], stamp)
    assert read_csv(path) == [first, second, third]
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)


def test_a_file_with_other_columns_is_left_alone(tmp_path):
    path = tmp_path / "benchmarks.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other columns"):
        append_csv(path, [result()], dict.fromkeys(PROVENANCE, "x"))
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(("ratio", "verdict"), [(3.9, "MISSED"), (4.0, "met"), (5.9, "met"), (6.0, "aim met")])
def test_the_verdict_says_whether_the_ratio_reaches_must_and_aim(ratio, verdict):
    assert result(ratio=ratio).verdict == verdict


def test_a_loss_is_shown_as_plainly_as_a_win(capsys):
    from debiasrec.benchmarks.table import report
    from rich.console import Console

    rows = [result(alternative=OURS, must=None, aim=None, ratio=1.0), result(ratio=0.8)]
    Console(width=100).print(report(rows, [], full_size=True))
    assert "MISSED" in capsys.readouterr().out
    Console(width=100).print(report([rows[0], result(ratio=0.8, must=None, aim=None)], [], full_size=True))
    assert "FASTER" in capsys.readouterr().out


def test_an_operator_selects_its_variants_and_an_unknown_name_gets_a_suggestion():
    assert [benchmark.name for benchmark in run.chosen(["ips_loss"])] == ["ips_loss", "ips_loss_propensity"]
    with pytest.raises(ValueError, match="did you mean snips_loss"):
        run.chosen(["snip_loss"])


def test_asking_for_cuda_without_a_device_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda"):
        run.main(["--device", "cuda", "--out", str(tmp_path)])


def test_a_figure_needs_matplotlib_and_its_absence_is_said(tmp_path):
    notes: list[str] = []
    files = run.write_files(tmp_path, [result()], None, dict.fromkeys(PROVENANCE, "x"), notes)
    assert [file.name for file in files] == ["benchmarks.csv"]
    assert "matplotlib" in notes[0]
