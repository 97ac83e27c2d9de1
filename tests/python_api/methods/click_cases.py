"""Small sets of clicks in time order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from debiasrec.data import Split
from debiasrec.data.sequences import ordered_dataset
from debiasrec.methods.clicks import ClickBatch, ClickMethod
from debiasrec.models.clicks import Encoded


def click_split(n_users: int = 60, n_items: int = 40, seed: int = 0) -> Split:
    """Users who stay within one half of the items, the odd ones in the odd half; more clicks by later users."""
    generator = np.random.default_rng(seed)
    events = [
        (user, 2 * item + user % 2)
        for user in range(n_users)
        for item in generator.choice(n_items // 2, 5 + user * 10 // n_users, replace=False)
    ]
    frame = pd.DataFrame(events, columns=["user", "item"])
    return ordered_dataset("clicks", frame, 1).split("leave_one_out", seed)


def started(method: ClickMethod, split: Split) -> tuple[ClickBatch, Encoded]:
    """A method as it stands before its first step, with half clicks and half other items of a first batch."""
    loader = method._start(split, "cpu")
    batch = next(iter(loader.epoch(1)))
    ends = batch["ends"].repeat(2)
    samples = method.model_.samples(batch.users.repeat(2), torch.cat([batch.items, batch.items.flip(0)]), ends)
    labels = torch.cat([torch.ones(len(batch)), torch.zeros(len(batch))])
    clicks = ClickBatch(samples, labels, np.random.default_rng(5))
    return clicks, method.model_.encode(samples, training=True)
