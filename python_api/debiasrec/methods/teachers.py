"""Methods that other methods learn from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from sklearn.base import clone

from debiasrec.methods import persistence
from debiasrec.methods.base import Method

if TYPE_CHECKING:
    from debiasrec.data.dataset import Split

_FITTED: WeakKeyDictionary[Split, dict[str, Method]] = WeakKeyDictionary()


def fitted_teacher(teacher: str | Method, split: Split, *, seed: int, device: str | torch.device = "cpu") -> Method:
    """A teacher for a student that is fitted to a split.

    Args:
        teacher: a registered name, which takes the settings of its preset for these data and `seed`; a method that is
            not fitted, which takes its own; or a fitted one, which is returned as it is.
        split: what the first two kinds are fitted to. Equal teachers of one split are fitted once.
        seed: the student's.
        device: where to train.

    Returns:
        A fitted method. It may be shared: do not change it.
    """
    from debiasrec.methods.presets import preset
    from debiasrec.methods.registry import make

    if isinstance(teacher, str):
        method = make(teacher, **preset(teacher, split.dataset.name, split.name)).set_params(seed=seed)
    else:
        method = teacher
    if hasattr(method, "history_"):
        return method
    if any(hasattr(value, "history_") for value in method.get_params().values()):
        return clone(method).fit(split, device=device)  # its own teachers are not told apart by hyper-parameters
    key = json.dumps([method.name, persistence.plain_params(method), str(device)], sort_keys=True)
    fitted = _FITTED.setdefault(split, {})
    if key not in fitted:
        fitted[key] = clone(method).fit(split, device=device)
    return fitted[key]
