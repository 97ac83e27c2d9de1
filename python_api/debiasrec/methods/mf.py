"""Plain matrix factorisation on the biased ratings, on the uniform ones, or on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from debiasrec.errors import DebiasRecError
from debiasrec.methods.options import flag
from debiasrec.methods.trained import Trained

if TYPE_CHECKING:
    from debiasrec.data.dataset import Interactions, Split


@dataclass(kw_only=True, eq=False, repr=False)
class MF(Trained):
    """Matrix factorisation on the biased ratings: sum of (s - t)^2 over the rated pairs.

    The debiased test of this model shows what self-selection costs.

    Source: Koren, Bell, Volinsky 2009, eq (5).
    """

    name: ClassVar[str] = "mf"
    summary: ClassVar[str] = "matrix factorisation on the biased ratings; no correction"
    source: ClassVar[str] = "Koren, Bell, Volinsky, Computer 42(8), 2009"


@dataclass(kw_only=True, eq=False, repr=False)
class MFUniform(MF):
    """Matrix factorisation on the uniform training ratings alone: unbiased, but few rows."""

    name: ClassVar[str] = "mf_uniform"
    needs_uniform: ClassVar[bool] = True
    summary: ClassVar[str] = "matrix factorisation on the uniform ratings alone"

    def training_rows(self, split: Split) -> Interactions:
        """The uniform training part."""
        return uniform_rows(split, self.name)


@dataclass(kw_only=True, eq=False, repr=False)
class MFCombine(MF):
    """Matrix factorisation on biased and uniform training ratings together.

    The rows are concatenated: a pair that was rated in both parts counts twice, its ratings are never added.
    """

    name: ClassVar[str] = "mf_combine"
    needs_uniform: ClassVar[bool] = True
    summary: ClassVar[str] = "matrix factorisation on biased and uniform ratings together"

    def training_rows(self, split: Split) -> Interactions:
        """Biased and uniform training parts, concatenated."""
        return with_uniform_rows(split, self.name)


@dataclass(kw_only=True, eq=False, repr=False)
class UniformRows(Trained):
    """A method that can train on the uniform ratings as well.

    Args:
        uniform_rows: train on the uniform ratings too, each with weight 1.
    """

    uniform_rows: bool = flag(False)

    def training_rows(self, split: Split) -> Interactions:
        """The biased training part, with the uniform one after it where `uniform_rows`."""
        return with_uniform_rows(split, self.name) if self.uniform_rows else split.train


def with_uniform_rows(split: Split, method: str) -> Interactions:
    """Biased and uniform training parts, concatenated."""
    return type(split.train).concatenate(split.train, uniform_rows(split, method))


def rated_rows(split: Split) -> Interactions:
    """The biased training part, and the uniform one after it where there is one."""
    uniform = split.uniform_train
    return split.train if uniform is None else type(split.train).concatenate(split.train, uniform)


def uniform_rows(split: Split, method: str) -> Interactions:
    """The uniform training part, or an error that says which method needs it."""
    if split.uniform_train is None or not len(split.uniform_train):
        raise DebiasRecError(f"method {method} needs uniform training ratings; the split {split.name!r} has none")
    return split.uniform_train
