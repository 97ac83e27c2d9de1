"""The exceptions and warnings that debiasrec raises on purpose."""

from __future__ import annotations


class DebiasRecError(ValueError):
    """A mistake in the input, told in one readable sentence."""


class DebiasRecWarning(UserWarning):
    """Something in the data or in a fit that changes how results should be read."""
