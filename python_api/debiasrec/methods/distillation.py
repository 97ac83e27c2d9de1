"""What students take over from fitted teachers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from debiasrec.errors import DebiasRecError
from debiasrec.methods.teachers import fitted_teacher
from debiasrec.models import MatrixFactorization, Model

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.methods.base import Method


def teacher_of(student: Method, option: str, split: Split, device: str | torch.device = "cpu") -> Method:
    """The fitted teacher that an option of a student names.

    Raises:
        DebiasRecError: the teacher predicts another coding of the ratings than the student trains on, or was fitted to
            other users and items.
    """
    teacher = fitted_teacher(getattr(student, option), split, seed=student.seed, device=device)
    if teacher.target != student.target:
        raise DebiasRecError(
            f"{student.name}: {option} {teacher.name} predicts {teacher.target!r} targets, expected {student.target!r}"
        )
    shape, expected = (teacher.n_users_, teacher.n_items_), (split.dataset.n_users, split.dataset.n_items)
    if shape != expected:
        raise DebiasRecError(
            f"{student.name}: {option} {teacher.name} was fitted to {shape[0]} users and {shape[1]} items, "
            f"expected {expected[0]} and {expected[1]}"
        )
    return teacher


def frozen(teacher: Method, device: str | torch.device) -> Model:
    """A copy of the teacher's model that takes no gradient, on a device."""
    model: Model = copy.deepcopy(teacher.model_).to_(device)
    for table in model.tables().values():
        table.requires_grad_(False)
    return model


def factorisation(teacher: Method, student: Method) -> MatrixFactorization:
    """The teacher's model, or an error where it is no matrix factorisation."""
    model: MatrixFactorization = teacher.model_
    if model.kind != MatrixFactorization.kind:
        raise DebiasRecError(f"{student.name} needs a matrix factorisation here, and {teacher.name} is {model.kind}")
    return model


@torch.no_grad()
def start_from(model: MatrixFactorization, teacher: Method, student: Method) -> None:
    """Give a student's model the scores of a teacher's, before it is trained.

    Raises:
        DebiasRecError: the teacher is no matrix factorisation with as many factors.
    """
    source = factorisation(teacher, student)
    expected, found = model.user_factors.shape[1], source.user_factors.shape[1]
    if expected != found:
        raise DebiasRecError(
            f"{student.name} with {expected} factors cannot start from {teacher.name} with {found} factors"
        )
    model.offset = source.offset
    for name, table in model.tables().items():
        table.copy_(source.tables()[name])
