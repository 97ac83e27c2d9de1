"""The one training loop: epochs, early stopping, history, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.training import checkpoint as storage
from debiasrec.training.early_stopping import EarlyStopping

# A checkpoint is written when this many seconds have passed since the last one, and at the end.
CHECKPOINT_SECONDS = 2.0


class DivergenceError(DebiasRecError):
    """The loss or the scores stopped being finite."""


@dataclass(frozen=True)
class ProgressEvent:
    """One finished epoch."""

    epoch: int
    max_epochs: int
    loss: float
    validation: float | None


class Task(Protocol):
    """What the loop trains."""

    def epoch(self, number: int) -> float:
        """The steps of epoch `number` (from 1); returns the mean loss that they saw."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, live."""

    def best_tensors(self) -> dict[str, Tensor]:
        """The part of them that early stopping keeps and restores."""

    def validation(self) -> float | None:
        """The criterion now; None without one, NaN when scores are not finite."""


@dataclass
class TrainingRun:
    """What the loop was told and what it has seen; all of it but the tensors.

    Args:
        max_epochs: upper limit.
        warmup_epochs: epochs at the start that are neither validated nor counted by early stopping.
        higher_is_better: direction of the validation criterion.
        patience: epochs without improvement before stopping.
        advice: settings to name when training diverges.
    """

    max_epochs: int
    patience: int
    higher_is_better: bool = True
    warmup_epochs: int = 0
    advice: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    stopped_by: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    early_stopping: EarlyStopping = field(init=False)

    def __post_init__(self) -> None:
        self.early_stopping = EarlyStopping(self.patience, higher_is_better=self.higher_is_better)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors."""
        stopping = self.early_stopping
        return {
            "epoch": self.epoch,
            "stopped_by": self.stopped_by,
            "history": self.history,
            "best_epoch": stopping.best_epoch,
            "best_value": stopping.best_value,
        }

    def load_state(self, state: Mapping[str, Any], best: dict[str, Tensor]) -> None:
        """Continue from what `state` and the best tensors of a checkpoint say."""
        self.epoch, self.stopped_by, self.history = state["epoch"], state["stopped_by"], state["history"]
        self.early_stopping.best_epoch = state["best_epoch"]
        self.early_stopping.best_value = state["best_value"]
        self.early_stopping.best = best


def train(
    task: Task,
    run: TrainingRun,
    *,
    progress: Callable[[ProgressEvent], None] | None = None,
    checkpoint: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> TrainingRun:
    """Train until early stopping or the limit, and leave the best state in the task.

    Args:
        task: what is trained.
        run: settings, and the record that is filled.
        progress: called after every epoch.
        checkpoint: folder of the checkpoint file; written at epoch boundaries.
        identity: what must be equal for a checkpoint to be continued.
        resume: continue from the checkpoint; without a file there, start from the beginning.

    Raises:
        DivergenceError: the loss or a validation score is not finite.
        CheckpointError: the checkpoint cannot be read or belongs to another run.
    """
    path = None if checkpoint is None else checkpoint / storage.CHECKPOINT_FILE
    if resume and path is not None and path.exists():
        _resume(path, task, run, dict(identity or {}))
    written = time.monotonic()
    while not run.stopped_by:
        _one_epoch(task, run)
        if progress is not None:
            last = run.history[-1]
            progress(ProgressEvent(run.epoch, run.max_epochs, last["loss"], last["validation"]))
        if path is not None and (run.stopped_by or time.monotonic() - written >= CHECKPOINT_SECONDS):
            _save(path, task, run, dict(identity or {}))
            written = time.monotonic()
    run.early_stopping.restore(task.best_tensors())
    return run


def _one_epoch(task: Task, run: TrainingRun) -> None:
    started = time.perf_counter()
    epoch = run.epoch + 1
    loss = _epoch_loss(task, epoch)
    validation = None
    if math.isfinite(loss) and epoch > run.warmup_epochs:
        validation = task.validation()
    if not math.isfinite(loss) or (validation is not None and math.isnan(validation)):
        raise _divergence(epoch, loss, run.advice)
    run.epoch = epoch
    seconds = time.perf_counter() - started
    run.history.append({"epoch": epoch, "loss": loss, "validation": validation, "seconds": seconds})
    if validation is not None and run.early_stopping.update(epoch, validation, task.best_tensors()):
        run.stopped_by = "early_stopping"
    elif epoch >= run.max_epochs:
        run.stopped_by = "max_epochs"


def _epoch_loss(task: Task, epoch: int) -> float:
    """The mean loss of an epoch; NaN where an operator refused values that had stopped being finite."""
    try:
        return task.epoch(epoch)
    except (ValueError, RuntimeError):
        if all(bool(tensor.isfinite().all()) for tensor in task.tensors().values()):
            raise
        return math.nan


def _divergence(epoch: int, loss: float, advice: Mapping[str, Any]) -> DivergenceError:
    what = f"the loss became {loss}" if not math.isfinite(loss) else "validation scores stopped being finite"
    settings = ", ".join(f"{name}={value!r}" for name, value in advice.items())
    return DivergenceError(
        f"training diverged in epoch {epoch}: {what} with {settings}. "
        'Try a learning rate ten times smaller, reduction="mean" with optimizer="adam", or a larger clip_min.'
    )


def _save(path: Path, task: Task, run: TrainingRun, identity: dict[str, Any]) -> None:
    tensors = {f"live.{name}": tensor for name, tensor in task.tensors().items()}
    tensors.update({f"best.{name}": tensor for name, tensor in run.early_stopping.best.items()})
    storage.write(path, tensors, {"identity": identity, "run": run.state()})


def _resume(path: Path, task: Task, run: TrainingRun, identity: dict[str, Any]) -> None:
    tensors, state = storage.read(path)
    _check_identity(path, state.get("identity", {}), identity)
    live = task.tensors()
    storage.copy_into(live, tensors, "live.")
    best = {
        name.removeprefix("best."): tensor.to(live[name.removeprefix("best.")].device)
        for name, tensor in tensors.items()
        if name.startswith("best.")
    }
    run.load_state(state["run"], best)


def _check_identity(path: Path, stored: dict[str, Any], expected: dict[str, Any]) -> None:
    names = [name for name in {**stored, **expected} if stored.get(name) != expected.get(name)]
    if names:
        shown = "; ".join(f"{name} is {stored.get(name)!r} there, {expected.get(name)!r} here" for name in names[:4])
        more = "" if len(names) <= 4 else f" (and {len(names) - 4} more)"
        raise storage.CheckpointError(f"{path} belongs to another training run: {shown}{more}")
