"""Progress: bars on a terminal, lines in a log, nothing when off."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from debiasrec.report.progress import FitProgress, fit_note


def run(*, terminal: bool, enabled: bool = True, total: int = 2) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with FitProgress(total, enabled=enabled, console=console) as bar:
        for seed in range(total):
            bar.start(f"ips seed {seed}")
            bar.epoch(SimpleNamespace(epoch=1, max_epochs=10, loss=0.25, validation=0.7))
            bar.finish(fit_note(SimpleNamespace(best_epoch_=4), 0.7123))
    return console.file.getvalue()


def test_a_log_gets_one_plain_line_per_fit():
    lines = run(terminal=False).splitlines()
    assert len(lines) == 2
    assert "\x1b" not in "".join(lines)
    assert lines[1].startswith("[2/2] ips seed 1: best epoch 4, validation AUC 0.7123, ")


def test_a_terminal_gets_bars():
    shown = run(terminal=True)
    assert "\x1b[" in shown
    assert "ips seed 1" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_off_means_silent(terminal):
    assert run(terminal=terminal, enabled=False) == ""
