"""Methods that other methods learn from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from sklearn.base import clone

from debiasrec.errors import DebiasRecError
from debiasrec.methods import persistence
from debiasrec.methods.options import ranges
from debiasrec.methods.teacher_files import TeacherFile

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.methods.base import Method

_FITTED: WeakKeyDictionary[Split, dict[str, Method]] = WeakKeyDictionary()


def fit_teachers(student: Method, split: Split, device: str | torch.device) -> None:
    """Fit the teachers that a student names, once all of them are known to do; they become its attributes `<option>_`.

    An option that is None leaves None there.

    Raises:
        DebiasRecError: a teacher predicts another coding of the ratings than the student trains on, was fitted to other
            users and items, or is of a kind that the student has no use for.
    """
    options = [option for option, range_ in ranges(student).items() if range_.teacher]
    named = {option: value for option in options if (value := getattr(student, option)) is not None}
    teachers = {option: made_teacher(value, split, seed=student.seed) for option, value in named.items()}
    for option, made in teachers.items():
        _check(student, option, made, split)
    for option in options:
        teacher, saved = teachers.get(option), student.takes_saved(option)
        fitted = None if teacher is None else fitted_teacher(teacher, split, device=device, saved=saved)
        setattr(student, f"{option}_", fitted)


def made_teacher(teacher: str | Method, split: Split, *, seed: int) -> Method:
    """The method that is meant: a registered name takes the settings of its preset for these data, and the seed."""
    from debiasrec.methods.presets import preset
    from debiasrec.methods.registry import make

    if isinstance(teacher, str):
        return make(teacher, **preset(teacher, split.dataset.name, split.name)).set_params(seed=seed)
    return teacher


def fitted_teacher(method: Method, split: Split, *, device: str | torch.device = "cpu", saved: bool = True) -> Method:
    """A teacher that is fitted.

    Args:
        method: one that is fitted already is returned as it is.
        split: what another one is fitted to. Equal teachers of one split are fitted once, and within
            `keeping_teachers` once for all processes.
        device: where to train.
        saved: whether one that was saved will do.

    Returns:
        A fitted method. It may be shared: do not change it.
    """
    if hasattr(method, "history_"):
        return method
    if any(hasattr(value, "history_") for value in method.get_params().values()):
        return clone(method).fit(split, device=device)  # its own teachers are not told apart by hyper-parameters
    settings = {"method": method.name, "params": persistence.plain_params(method), "device": str(device)}
    fitted, key = _FITTED.setdefault(split, {}), json.dumps(settings, sort_keys=True)
    file = TeacherFile.of(settings, split)
    if key not in fitted:
        if saved and file is not None and file.exists():
            return file.read()
        fitted[key] = clone(method).fit(split, device=device)
    if file is not None and not file.exists():
        file.write(fitted[key])
    return fitted[key]


def _check(student: Method, option: str, teacher: Method, split: Split) -> None:
    if teacher.target != student.target:
        raise DebiasRecError(
            f"{student.name}: {option} {teacher.name} predicts {teacher.target!r} targets, expected {student.target!r}"
        )
    expected = split.dataset.n_users, split.dataset.n_items
    shape = (teacher.n_users_, teacher.n_items_) if hasattr(teacher, "history_") else expected
    if shape != expected:
        raise DebiasRecError(
            f"{student.name}: {option} {teacher.name} was fitted to {shape[0]} users and {shape[1]} items, "
            f"expected {expected[0]} and {expected[1]}"
        )
    student.check_teacher(option, teacher)
