"""The named protocols: how each paper cuts its ratings into training, validation and test parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from ..errors import DebiasRecError
from ..naming import unknown_name
from .dataset import Dataset, Interactions, Split
from .sequences import leave_one_out
from .validation import is_whole

LEAVE_ONE_OUT = "leave_one_out"


@dataclass(frozen=True)
class Protocol:
    """Shares of the biased and of the uniform rows by part, in the order in which they are cut.

    The last part of each takes the remainder. Without shares, ``sequences.leave_one_out`` cuts.
    """

    summary: str
    biased: dict[str, Fraction]
    uniform: dict[str, Fraction]
    needs_uniform: bool


def _shares(**percent: int) -> dict[str, Fraction]:
    return {part: Fraction(share, 100) for part, share in percent.items()}


_UNIFORM_5_5_90 = _shares(uniform_train=5, uniform_validation=5, uniform_test=90)
_ALL_BIASED = Protocol(
    "all biased ratings train; uniform 5/5/90 train/validation/test",
    _shares(train=100),
    _UNIFORM_5_5_90,
    needs_uniform=True,
)

SPLITS = MappingProxyType(
    {
        "autodebias": _ALL_BIASED,
        "bal": _ALL_BIASED,
        "interd": Protocol(
            "biased 80/10/10 train/validation/test; uniform 5/5/90 (when there is one)",
            _shares(train=80, biased_validation=10, biased_test=10),
            _UNIFORM_5_5_90,
            needs_uniform=False,
        ),
        "ltd": Protocol(
            "biased 90/10 train/validation; uniform 5/95 train/test",
            _shares(train=90, biased_validation=10),
            _shares(uniform_train=5, uniform_test=95),
            needs_uniform=True,
        ),
        "implicit": Protocol(
            "biased 90/10 train/validation; all uniform ratings test (clicks are ratings >= threshold)",
            _shares(train=90, biased_validation=10),
            _shares(uniform_test=100),
            needs_uniform=True,
        ),
        LEAVE_ONE_OUT: Protocol(
            "clicks in time order: a user's last one tests, the one before validates, the rest train",
            {},
            {},
            needs_uniform=False,
        ),
    }
)


def make_split(dataset: Dataset, name: str, seed: int = 0) -> Split:
    """Cut a data set by a named protocol.

    Each kind of feedback gets one permutation of its rows by a generator seeded with ``seed``; a part takes
    floor(share * rows), the last one the remainder.

    Args:
        dataset: the data.
        name: a key of ``SPLITS``.
        seed: >= 0.

    Returns:
        The split; parts that the protocol does not have are None.

    Raises:
        DebiasRecError: an unknown name, a negative seed, absent uniform ratings that the protocol needs, or too few
            rows for a part.

    Source: InterD (SIGIR 2022) Table 1 for "interd"; AutoDebias and Bal (WWW 2023) for "autodebias", "bal";
        LTD (WSDM 2021) for "ltd"; Biif (TMLR submission) for "implicit"; CausalD (TKDE 2023) section 4.1 for
        "leave_one_out".
    """
    if name not in SPLITS:
        raise DebiasRecError(unknown_name("split", name, SPLITS))
    if not is_whole(seed) or seed < 0:
        raise DebiasRecError(f"split seed must be a whole number >= 0, got {seed!r}")
    if name == LEAVE_ONE_OUT:
        return leave_one_out(dataset, name, seed)
    protocol = SPLITS[name]
    if dataset.uniform is None and protocol.needs_uniform:
        raise DebiasRecError(
            f"split '{name}' needs uniform ratings and {dataset.name} has none; use split 'interd', which then cuts "
            "the biased ratings alone"
        )
    biased_stream, uniform_stream = np.random.SeedSequence(seed).spawn(2)
    parts = _cut(dataset.biased, protocol.biased, biased_stream, dataset.n_items, name)
    if dataset.uniform is not None:
        parts |= _cut(dataset.uniform, protocol.uniform, uniform_stream, dataset.n_items, name)
    return Split(dataset=dataset, name=name, seed=seed, **parts)


def _cut(
    rows: Interactions, shares: dict[str, Fraction], stream: np.random.SeedSequence, n_items: int, name: str
) -> dict[str, Interactions]:
    n = len(rows)
    counts = [int(n * share) for share in shares.values()]
    counts[-1] = n - sum(counts[:-1])
    if min(counts) == 0:
        wanted = ", ".join(f"{part} {float(share):.0%}" for part, share in shares.items())
        least = math.ceil(1 / min(shares.values()))
        raise DebiasRecError(
            f"split '{name}' leaves a part of {n:,} rows empty ({wanted}); it needs at least {least} rows"
        )
    order = np.random.default_rng(stream).permutation(n)
    pieces = np.split(order, np.cumsum(counts)[:-1])
    parts = {part: rows.take(index) for part, index in zip(shares, pieces, strict=True)}
    check_disjoint(parts, rows, n_items)
    return parts


def check_disjoint(parts: dict[str, Interactions], whole: Interactions, n_items: int) -> None:
    """Raise unless every pair of ``whole`` lies in exactly one part."""
    keys = np.concatenate([part.pairs(n_items) for part in parts.values()])
    if not np.array_equal(np.sort(keys), np.sort(whole.pairs(n_items))):
        raise DebiasRecError(f"parts {', '.join(parts)} overlap or lose rows: {len(keys):,} of {len(whole):,} rows")
