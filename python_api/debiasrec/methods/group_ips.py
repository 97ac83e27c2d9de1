"""Inverse propensity of the user's group given the item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from debiasrec.data.groups import GROUPINGS, user_groups
from debiasrec.methods.clicks import ClickBatch, OnBase
from debiasrec.methods.options import choice, number, whole

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split


@dataclass(kw_only=True, eq=False, repr=False)
class GroupIPS(OnBase):
    """BCE weighted by 1 / max(P(group of u | i), share_min), divided by the mean of the step.

    P(g | i) = (n_gi + 1) / (n_i + K) from the training clicks; an item that was drawn has its own.

    Args:
        groups: K.
        grouping: "activeness", "consistency" or "random"; see `debiasrec.data.groups.user_groups`.
        share_min: least P(group | item).

    Source: Zhang et al., CausalD, TKDE 2023, section 4.1.3, the baseline "IPS".
    """

    name: ClassVar[str] = "group_ips"
    summary: ClassVar[str] = "inverse propensity of the user's group given the item"
    source: ClassVar[str] = "Zhang et al., CausalD, TKDE 2023"

    groups: int = whole(5)
    grouping: str = choice("activeness", *GROUPINGS)
    share_min: float = number(0.2, above=0, most=1)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Count the clicks of every group on every item."""
        groups = user_groups(split, self.grouping, self.groups, self.seed)
        n_items, rows = split.dataset.n_items, split.train
        cells = np.bincount(rows.items * self.groups + groups[rows.users], minlength=n_items * self.groups)
        counts = cells.reshape(n_items, self.groups) + 1.0
        shares = (counts / counts.sum(1, keepdims=True)).astype(np.float32)
        self._groups, self._shares = torch.from_numpy(groups).to(device), torch.from_numpy(shares).to(device)
        return {}

    def weights(self, batch: ClickBatch) -> Tensor:
        """The weights of the samples, [B]."""
        shares = self._shares[batch.samples.items, self._groups[batch.samples.users]]
        weights = 1.0 / shares.clamp(min=self.share_min)
        return weights / weights.mean()
