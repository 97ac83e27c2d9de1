from __future__ import annotations

import math

import pytest
import torch

from debiasrec.training import DivergenceError, TrainingRun, loop, train
from debiasrec.training.checkpoint import CheckpointError


class Counter:
    """A task whose only tensor counts its steps, and whose validation follows a script."""

    def __init__(self, script, losses=None):
        self.value = torch.zeros(1)
        self.script = script
        self.losses = losses or {}
        self.epochs = 0

    def epoch(self, number):
        self.epochs = number
        self.value += 1
        return self.losses.get(number, 1.0 / number)

    def tensors(self):
        return {"value": self.value}

    best_tensors = tensors

    def validation(self):
        return self.script[self.epochs - 1] if self.script else None


def test_early_stopping_restores_the_best_epoch_not_the_last():
    task = Counter([0.1, 0.5, 0.9, 0.8, 0.9, 0.2, 0.3])
    run = train(task, TrainingRun(max_epochs=7, patience=3))
    assert run.stopped_by == "early_stopping"
    assert (run.epoch, run.early_stopping.best_epoch) == (6, 3)  # an equal value is no improvement
    assert task.value.item() == 3


def test_lower_is_better_for_an_error():
    task = Counter([0.9, 0.4, 0.6, 0.7])
    run = train(task, TrainingRun(max_epochs=4, patience=9, higher_is_better=False))
    assert (run.stopped_by, run.early_stopping.best_epoch, task.value.item()) == ("max_epochs", 2, 2)


def test_without_validation_all_epochs_run_and_the_last_stays():
    task = Counter(None)
    run = train(task, TrainingRun(max_epochs=5, patience=1))
    assert (run.stopped_by, run.epoch, task.value.item()) == ("max_epochs", 5, 5)


def test_warmup_epochs_are_not_validated():
    run = train(Counter([0.9, 0.9, 0.1, 0.2]), TrainingRun(max_epochs=4, patience=9, warmup_epochs=2))
    assert [row["validation"] for row in run.history] == [None, None, 0.1, 0.2]
    assert run.early_stopping.best_epoch == 4


def test_progress_tells_every_epoch():
    events = []
    train(Counter([0.3, 0.4]), TrainingRun(max_epochs=2, patience=9), progress=events.append)
    assert [(e.epoch, e.max_epochs, e.loss, e.validation) for e in events] == [(1, 2, 1.0, 0.3), (2, 2, 0.5, 0.4)]


@pytest.mark.parametrize(
    ("script", "losses", "what"),
    [([0.5] * 3, {2: math.inf}, "loss became inf"), ([0.5, math.nan, 0.5], {}, "scores stopped being finite")],
)
def test_divergence_names_epoch_learning_rate_and_remedy(script, losses, what):
    run = TrainingRun(max_epochs=3, patience=9, advice={"lr": 12.5})
    with pytest.raises(DivergenceError, match=rf"epoch 2: .*{what} with lr=12\.5\. Try a learning rate ten times"):
        train(Counter(script, losses), run)


@pytest.mark.parametrize(("value", "expected"), [(math.inf, DivergenceError), (1.0, ValueError)])
def test_an_operator_that_refuses_what_is_not_finite_tells_of_divergence(value, expected):
    class Refused(Counter):
        def epoch(self, number):
            self.value.fill_(value)
            raise ValueError("scores must not be NaN")

    with pytest.raises(expected):
        train(Refused(None), TrainingRun(max_epochs=2, patience=1))


class Interrupted(Exception):
    pass


def interrupt_after(epoch):
    def progress(event):
        if event.epoch == epoch:
            raise Interrupted

    return progress


@pytest.fixture
def checkpoint_every_epoch(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)


def test_resume_continues_where_the_checkpoint_stands(tmp_path, checkpoint_every_epoch):
    script = [0.1, 0.5, 0.9, 0.8, 0.7, 0.6]
    options = {"checkpoint": tmp_path, "identity": {"lr": 0.1}}
    with pytest.raises(Interrupted):
        train(Counter(script), TrainingRun(max_epochs=6, patience=9), progress=interrupt_after(5), **options)
    task, events = Counter(script), []
    run = train(task, TrainingRun(max_epochs=6, patience=9), progress=events.append, resume=True, **options)
    assert [event.epoch for event in events] == [5, 6]
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5, 6]
    assert task.value.item() == 3  # the best epoch lies before the interruption


def test_resume_of_a_finished_run_only_restores_it(tmp_path):
    options = {"checkpoint": tmp_path, "identity": {}}
    train(Counter([0.1, 0.9, 0.2]), TrainingRun(max_epochs=3, patience=9), **options)
    task, events = Counter([0.1, 0.9, 0.2]), []
    train(task, TrainingRun(max_epochs=3, patience=9), progress=events.append, resume=True, **options)
    assert events == []
    assert task.value.item() == 2


def test_resume_without_a_file_starts_from_the_beginning(tmp_path):
    run = train(Counter([0.1, 0.2]), TrainingRun(max_epochs=2, patience=9), checkpoint=tmp_path, resume=True)
    assert run.epoch == 2


def test_a_checkpoint_of_another_run_is_refused_and_nothing_changes(tmp_path):
    train(Counter([0.1]), TrainingRun(max_epochs=1, patience=9), checkpoint=tmp_path, identity={"lr": 0.1})
    task = Counter([0.1])
    with pytest.raises(CheckpointError, match=r"another training run: lr is 0\.1 there, 0\.2 here"):
        train(
            task,
            TrainingRun(max_epochs=1, patience=9),
            checkpoint=tmp_path,
            identity={"lr": 0.2},
            resume=True,
        )
    assert task.value.item() == 0
