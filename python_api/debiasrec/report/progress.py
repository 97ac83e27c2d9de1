"""Progress of a series of fits: bars on a terminal, one line per fit in a log. Both go to stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from ..methods import Method


class FitProgress:
    """Context manager around ``total`` fits: ``start``, then ``epoch`` as often as wanted, then ``finish``.

    Args:
        total: number of fits.
        enabled: without it nothing is shown.
        console: where to show it; stderr when not given.
    """

    def __init__(self, total: int, *, enabled: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._enabled = enabled
        self._bars = self._make_bars() if enabled and self._console.is_terminal else None
        self._total = total
        self._done = 0
        self._label = ""
        self._fits: TaskID | None = None
        self._epochs: TaskID | None = None

    def _make_bars(self) -> Progress:
        columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console, transient=True)

    def __enter__(self) -> FitProgress:
        if self._bars is not None:
            self._bars.start()
            if self._total > 1:
                self._fits = self._bars.add_task("fits", total=self._total, note="")
            self._epochs = self._bars.add_task("", total=None, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, label: str) -> None:
        """A fit begins."""
        self._label = label
        self._began = time.perf_counter()
        if self._bars is not None and self._epochs is not None:
            self._bars.reset(self._epochs, description=self._label, total=None, note="")

    def epoch(self, event: Any) -> None:
        """An epoch of the current fit ended (a ``ProgressEvent``)."""
        if self._bars is not None and self._epochs is not None:
            note = f"loss {event.loss:.4g}" + ("" if event.validation is None else f", val {event.validation:.4f}")
            self._bars.update(self._epochs, completed=event.epoch, total=event.max_epochs, note=note)

    def finish(self, note: str) -> None:
        """The current fit ended: one line with a note, on a terminal above the bars."""
        self._done += 1
        if not self._enabled:
            return
        seconds = time.perf_counter() - self._began
        count = f"[{self._done}/{self._total}] " if self._total > 1 else ""
        line = f"{count}{self._label}: {note}, {seconds:.1f} s"
        if self._bars is not None:
            if self._fits is not None:
                self._bars.advance(self._fits)
            self._bars.console.print(line, highlight=False, style="dim", markup=False)
        else:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def fit_note(model: Method, validation: float) -> str:
    """What to say of a fit that ended: its best epoch and its AUC on the validation rows."""
    return f"best epoch {model.best_epoch_}, validation AUC {validation:.4f}"
