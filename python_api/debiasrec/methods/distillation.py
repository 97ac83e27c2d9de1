"""What students take over from fitted teachers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from debiasrec.errors import DebiasRecError
from debiasrec.models import MatrixFactorization, Model

if TYPE_CHECKING:
    from debiasrec.methods.base import Method


def frozen(teacher: Method, device: str | torch.device) -> Model:
    """A copy of the teacher's model that takes no gradient, on a device."""
    model: Model = copy.deepcopy(teacher.model_).to_(device)
    for table in model.tables().values():
        table.requires_grad_(False)
    return model


@torch.no_grad()
def start_from(model: MatrixFactorization, teacher: Method, student: Method) -> None:
    """Give a student's model the scores of a teacher's, a matrix factorisation, before it is trained.

    Raises:
        DebiasRecError: the teacher has another number of factors.
    """
    source: MatrixFactorization = teacher.model_
    expected, found = model.user_factors.shape[1], source.user_factors.shape[1]
    if expected != found:
        raise DebiasRecError(
            f"{student.name} with {expected} factors cannot start from {teacher.name} with {found} factors"
        )
    model.offset = source.offset
    for name, table in model.tables().items():
        table.copy_(source.tables()[name])
