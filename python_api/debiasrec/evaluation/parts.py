"""The tests of a split, prepared once for every model that is scored on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..data import Interactions, Split
from ..errors import DebiasRecError

TESTS = {"biased": "biased_test", "debiased": "uniform_test"}

# Whom the @k metrics average over: users with a positive test row, or users with a positive and a negative one.
# The InterD protocol keeps the latter, the AutoDebias and Bal protocols the former.
RANKING_USERS = {"interd": "both"}
# The @k metrics and the list lengths of a protocol's paper.
LIST_METRICS = {"implicit": ("dcg", "map", "recall")}
LIST_LENGTHS = {"implicit": (1, 2, 3), "leave_one_out": (5, 10)}
RANKING_USERS_WORDS = {"defined": "users with a positive", "both": "users with a positive and a negative"}


@dataclass(frozen=True)
class TestPart:
    """One test: its rows, their 0/1 labels, and the user of each row as the group to rank within."""

    __test__ = False  # the name starts like a test case; pytest must not collect it

    name: str
    rows: Interactions
    labels: torch.Tensor
    groups: torch.Tensor


def ranking_users(split: Split) -> str:
    """``"defined"`` or ``"both"``: whom the @k metrics of this split's protocol average over."""
    return RANKING_USERS.get(split.name, "defined")


def list_metrics(split: Split) -> tuple[str, ...]:
    """The @k metrics of this split's protocol; F1 is of the first one."""
    return LIST_METRICS.get(split.name, ("ndcg", "recall", "map"))


def list_lengths(split: Split) -> tuple[int, ...]:
    """The usual list lengths of this split's protocol."""
    return LIST_LENGTHS.get(split.name, (5,))


def make_part(name: str, rows: Interactions, positives: np.ndarray) -> TestPart:
    """Prepare rows as a test.

    Args:
        name: what the test is called in the columns.
        rows: the rated pairs, inside indices.
        positives: bool [n].

    Returns:
        The test.
    """
    return TestPart(name, rows, torch.from_numpy(np.asarray(positives, dtype=np.uint8)), torch.tensor(rows.users))


def test_parts(split: Split) -> list[TestPart]:
    """The tests this split has, the biased one first.

    Raises:
        DebiasRecError: the split has no test at all.
    """
    parts = []
    for name, field in TESTS.items():
        rows = getattr(split, field)
        if rows is not None and len(rows):
            parts.append(make_part(name, rows, split.dataset.positives(rows.ratings)))
    if not parts:
        raise DebiasRecError(f"split {split.name!r} of {split.dataset.name!r} has no test rows: nothing to evaluate on")
    return parts


test_parts.__test__ = False  # type: ignore[attr-defined]


def users_dropped(parts: list[TestPart]) -> dict[str, dict[str, int]]:
    """How many users each test has, and how many lack a class.

    Args:
        parts: the prepared tests.

    Returns:
        Per test: users, no_positive, no_negative, both_classes.
    """
    counts = {}
    for part in parts:
        rows = np.bincount(part.rows.users)
        positives = np.bincount(part.rows.users, weights=part.labels.numpy(), minlength=len(rows))[rows > 0]
        rows = rows[rows > 0]
        no_positive, no_negative = int((positives == 0).sum()), int((positives == rows).sum())
        counts[part.name] = {
            "users": len(rows),
            "no_positive": no_positive,
            "no_negative": no_negative,
            "both_classes": len(rows) - no_positive - no_negative,
        }
    return counts
