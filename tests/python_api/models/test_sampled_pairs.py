from __future__ import annotations

import numpy as np
import pytest
import torch

from debiasrec.models import UnratedPairs

CPU = torch.device("cpu")


def test_unrated_pairs_are_drawn_uniformly_and_never_rated():
    users, items = np.array([0, 0, 2, 3]), np.array([1, 2, 0, 4])
    pairs = UnratedPairs(users, items, 4, 5, seed=0)
    assert len(pairs) == 16
    drawn_users, drawn_items = pairs.draw(16_000, CPU)
    counts = np.bincount((drawn_users * 5 + drawn_items).numpy(), minlength=20)
    assert (counts[users * 5 + items] == 0).all()
    assert abs(np.delete(counts, users * 5 + items) - 1000).max() < 5 * np.sqrt(1000)


def test_a_full_matrix_leaves_nothing_to_draw():
    users, items = np.divmod(np.arange(6), 3)
    pairs = UnratedPairs(users, items, 2, 3, seed=0)
    assert len(pairs) == 0
    with pytest.raises(ValueError, match="hold all 2 x 3 pairs"):
        pairs.draw(1, CPU)


def test_an_epoch_draws_the_same_pairs_again_and_other_epochs_draw_others():
    users, items = np.divmod(np.arange(0, 60, 2), 10)
    pairs = UnratedPairs(users, items, 10, 10, seed=3)

    def drawn(epoch, *counts):
        pairs.begin_epoch(epoch)
        parts = [pairs.draw(count, CPU) for count in counts]
        return [torch.cat(column).tolist() for column in zip(*parts, strict=True)]

    assert drawn(2, 30) == drawn(2, 10, 20) != drawn(1, 30)
    assert drawn(1, 30) != drawn(3, 30)
