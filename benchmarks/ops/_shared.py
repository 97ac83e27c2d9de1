"""Names of alternatives, and sizes of data, that several benchmarks share."""

from __future__ import annotations

EAGER, COMPILED = "torch eager", "torch.compile"
PLAIN, PUBLISHED, GRAM = "plain torch", "published recipe", "Gram form in torch"
N_USERS, N_ITEMS, RATINGS = 15_400, 1_000, 311_704  # Yahoo! R3
BLOCK_USERS, BLOCK_ITEMS, FACTORS = 6_000, 500, 10  # the blocks that the published programs cut it into
