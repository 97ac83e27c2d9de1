"""A split without its tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..data import Interactions, Split


def without_tests(split: Split) -> Split:
    """The training and validation parts alone: no test row, in the split or in its data set, and no known truth.

    What is chosen on such a split cannot have seen a test row.

    Args:
        split: any split.

    Returns:
        A split of the same name and seed. Its data set holds the rows of the parts that are left.
    """
    data = split.dataset
    biased = _together(split.train, split.biased_validation)
    if data.ordered:  # the items drawn for validation are no clicks, and may repeat
        biased = biased.take(data.positives(biased.ratings))
    seen = replace(data, biased=biased, uniform=_together(split.uniform_train, split.uniform_validation), truth=None)
    return replace(split, dataset=seen, biased_test=None, uniform_test=None)


def _together(*parts: Interactions | None) -> Any:
    there = [part for part in parts if part is not None]
    return Interactions.concatenate(*there) if there else None
