"""Logistic matrix factorisation of a table of yes and no."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import expit, logit

import debias_ext

SPREAD = 0.1  # of the initial factors
LEARNING_RATE = 0.01
# Pairs a step: small tables get as many steps an epoch as large ones.
STEPS, SMALLEST, LARGEST = 200, 256, 8192
ROWS_AT_ONCE = 1 << 20


def logistic_mf(
    positive: np.ndarray, n_users: int, n_items: int, *, factors: int, l2: float, epochs: int, seed: int
) -> np.ndarray:
    """Probabilities sigmoid(P[u].Q[i] + a[u] + b[i] + c) of all pairs, fitted to all pairs.

    Minimises the summed log loss plus l2 / 2 * (|P|^2 + |Q|^2), by Adam over shuffled batches; c is the log-odds of the
    share of positive pairs.

    Args:
        positive: int64 [n], the pairs that are 1 as ``user * n_items + item``, each once; all others are 0.
        n_users, n_items: the shape of the table.
        factors: length of P[u] and Q[i].
        l2: coefficient of the squared norms beside the sum over all pairs.
        epochs: passes over all pairs.
        seed: of initial factors and order.

    Returns:
        float64 [U, I] in (0, 1).

    Source: Johnson, Logistic Matrix Factorization for Implicit Feedback Data, 2014, eq (1) to (4), with weight 1.
    """
    n = n_users * n_items
    users, items = _all_pairs(0, n, n_items)
    targets = torch.zeros(n)
    targets[torch.from_numpy(positive)] = 1.0
    generator = np.random.default_rng(seed)
    p, q = (
        torch.tensor(SPREAD * generator.standard_normal((rows, factors)), dtype=torch.float32)
        for rows in (n_users, n_items)
    )
    a, b = torch.zeros(n_users), torch.zeros(n_items)
    offset = float(logit(len(positive) / n))
    optimizer = debias_ext.MFOptimizer("adam", LEARNING_RATE)
    for epoch in range(1, epochs + 1):
        debias_ext.mf_epoch_(
            p,
            q,
            users,
            items,
            targets,
            user_bias=a,
            item_bias=b,
            offset=offset,
            loss="bce",
            optimizer=optimizer,
            batch_size=min(max(n // STEPS, SMALLEST), LARGEST),
            generator_seed=seed,
            epoch=epoch,
            l2=l2 / n,
            l2_rows="all",
            reduction="mean",
        )
    probabilities = np.empty(n)
    for start in range(0, n, ROWS_AT_ONCE):
        part = slice(start, min(start + ROWS_AT_ONCE, n))
        users, items = _all_pairs(part.start, part.stop, n_items)
        scores = debias_ext.mf_score(p, q, users, items, a, b, offset=offset)
        probabilities[part] = expit(scores.numpy().astype(np.float64))
    return probabilities.reshape(n_users, n_items)


def _all_pairs(start: int, stop: int, n_items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Users and items of the pairs ``start`` to ``stop``, int32: half the memory of int64."""
    users, items = np.divmod(np.arange(start, stop), n_items)
    return torch.from_numpy(users.astype(np.int32)), torch.from_numpy(items.astype(np.int32))
