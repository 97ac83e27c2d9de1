"""Philox4x32-10 and the rows of the sampler in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

_WORD = 2**32 - 1


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Four words from four words of counter and two of key (Salmon et al. 2011, section 3.3)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k[0], second & _WORD, first >> 32 ^ c[3] ^ k[1], first & _WORD]
        k = [k[0] + 0x9E3779B9 & _WORD, k[1] + 0xBB67AE85 & _WORD]
    return c[0], c[1], c[2], c[3]


def numbers(row: int, attempt: int, seed: int) -> tuple[int, int]:
    """Two 64-bit numbers: what the sampler draws a pair from."""
    w = philox((row & _WORD, row >> 32, attempt & _WORD, attempt >> 32), (seed & _WORD, seed >> 32))
    return w[0] | w[1] << 32, w[2] | w[3] << 32


def pair(row: int, attempt: int, seed: int, n_users: int, n_items: int) -> tuple[int, int]:
    first, second = numbers(row, attempt, seed)
    return first * n_users >> 64, second * n_items >> 64
