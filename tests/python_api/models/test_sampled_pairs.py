from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import UnratedPairs

CPU = torch.device("cpu")


def test_unrated_pairs_are_drawn_uniformly_and_never_rated():
    users, items = np.array([0, 0, 2, 3]), np.array([1, 2, 0, 4])
    pairs = UnratedPairs(users, items, 4, 5)
    assert len(pairs) == 16
    drawn_users, drawn_items = pairs.draw(16_000, np.random.default_rng(0), CPU)
    counts = np.bincount((drawn_users * 5 + drawn_items).numpy(), minlength=20)
    assert (counts[users * 5 + items] == 0).all()
    assert abs(np.delete(counts, users * 5 + items) - 1000).max() < 5 * np.sqrt(1000)


def test_a_full_matrix_leaves_nothing_to_draw():
    users, items = np.divmod(np.arange(6), 3)
    with pytest.raises(ValueError, match="all 6 pairs are rated"):
        UnratedPairs(users, items, 2, 3)
