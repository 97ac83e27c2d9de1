"""Teachers of user groups, one plain click model for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from debiasrec.data.groups import GROUPINGS, user_groups
from debiasrec.methods.click_models import PLAIN
from debiasrec.methods.clicks import ClickBatch, ClickMethod, OnBase
from debiasrec.methods.distillation import frozen
from debiasrec.methods.options import choice, whole
from debiasrec.methods.teachers import fitted_teacher

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split
    from debiasrec.models.clicks import Encoded

_PARTS: WeakKeyDictionary[Split, dict[tuple[Any, ...], list[Split]]] = WeakKeyDictionary()


def group_splits(split: Split, by: str, n_groups: int, seed: int = 0) -> list[Split]:
    """The split of each user group, training and validation rows; the same objects for equal arguments."""
    kept = _PARTS.setdefault(split, {})
    key = (by, n_groups, seed)
    if key not in kept:
        groups = user_groups(split, by, n_groups, seed)
        kept[key] = [_part(split, groups == group) for group in range(n_groups)]
    return kept[key]


def _part(split: Split, members: np.ndarray) -> Split:
    held = split.biased_validation
    return replace(
        split,
        train=split.train.take(members[split.train.users]),
        biased_validation=None if held is None else held.take(members[held.users]),
        biased_test=None,
    )


def plain_twin(method: ClickMethod) -> ClickMethod:
    """The plain click model of a method: the same base, and the options that both have."""
    plain = PLAIN[method.base]
    return plain(**{name: getattr(method, name) for name in plain._get_param_names()})


def group_teachers(method: ClickMethod, split: Split, by: str, n_groups: int, device: Any = "cpu") -> list[ClickMethod]:
    """A fitted plain twin of the method for each user group; equal ones of one split are fitted once.

    Args:
        method: its base, its seed and the options it shares with plain models are those of the teachers.
        split: of all users.
        by, n_groups: as in `user_groups`; random groups take the seed of the method.
        device: where to train.
    """
    parts = group_splits(split, by, n_groups, method.seed if by == "random" else 0)
    twin = plain_twin(method)
    return [fitted_teacher(twin, part, device=device) for part in parts]


@dataclass(kw_only=True, eq=False, repr=False)
class GroupTaught(OnBase):
    """A student of teachers of user groups.

    Args:
        groups: K, how many teachers; each is the plain model of the base, fitted to the users of one group.
        grouping: "activeness", "consistency" or "random"; see `debiasrec.data.groups.user_groups`.

    Attributes (after fit):
        teachers_: the fitted methods.
    """

    groups: int = whole(5)
    grouping: str = choice("activeness", *GROUPINGS)

    def prepare(self, split: Split, device: str | torch.device) -> dict[str, Tensor]:
        """Fit the teachers."""
        self.teachers_ = group_teachers(self, split, self.grouping, self.groups, device)
        self._models: list[Any] = [frozen(teacher, device) for teacher in self.teachers_]
        return {}

    @torch.no_grad()
    def taught(self, batch: ClickBatch) -> list[Encoded]:
        """What each teacher says of the samples."""
        return [model.encode(batch.samples) for model in self._models]

    def teacher_logits(self, batch: ClickBatch) -> Tensor:
        """The logits of the teachers, [B, K]."""
        return torch.stack([encoded.logits for encoded in self.taught(batch)], 1)


def table(seed: int, stream: int, device: str | torch.device, *shape: int, deviation: float = 0.0) -> Tensor:
    """A float32 leaf of Normal(0, deviation), drawn on the CPU whatever the device."""
    values = deviation * np.random.default_rng((seed, stream)).standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32)).to(device).requires_grad_()
