"""Fitted methods on disk: one safetensors file whose header holds the rest as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.methods.serving import Catalogue
from debiasrec.models import TABLE_NAMES, MatrixFactorization
from debiasrec.training import checkpoint as storage

if TYPE_CHECKING:
    from debiasrec.methods.base import Method

MODEL_FILE = "model.safetensors"
_FORMAT = 1
_FITTED = ("threshold_", "n_users_", "n_items_", "n_rows_", "offset_", "best_epoch_", "stopped_by_", "fit_seconds_")


def plain_params(method: Method) -> dict[str, Any]:
    """The hyper-parameters with numpy scalars as Python numbers, which JSON can hold."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in method.get_params().items()}


def save(method: Method, directory: Path) -> Path:
    """Write a fitted method into `directory`, replacing an older one in one piece; returns the file."""
    catalogue = method.catalogue_
    tensors: dict[str, Tensor] = {
        "seen_offsets": torch.from_numpy(catalogue.seen_offsets),
        "seen_items": torch.from_numpy(catalogue.seen_items),
        "user_ids": _ids_to_tensor(catalogue.user_ids, "user_ids"),
        "item_ids": _ids_to_tensor(catalogue.item_ids, "item_ids"),
        **method.model_.tables(),
    }
    history = method.history_.astype(object).where(method.history_.notna(), None)
    state = {
        "format": _FORMAT,
        "method": method.name,
        "params": plain_params(method),
        "fitted": {name: getattr(method, name) for name in _FITTED},
        "history": history.to_dict(orient="list"),
        "id_dtypes": [str(catalogue.user_ids.dtype), str(catalogue.item_ids.dtype)],
    }
    path = directory / MODEL_FILE
    storage.write(path, tensors, state)
    return path


def load_model(directory: str | Path) -> Method:
    """The fitted method that `Method.save` wrote into `directory`.

    Raises:
        DebiasRecError: no model there, a damaged file, or one of another format.
    """
    from debiasrec.methods.registry import make

    path = Path(directory) / MODEL_FILE
    tensors, state = storage.read(path)
    if state.get("format") != _FORMAT:
        raise DebiasRecError(f"{path} has format {state.get('format')!r}, this version reads format {_FORMAT}")
    method = make(state["method"], **state["params"])
    for name in _FITTED:
        setattr(method, name, state["fitted"][name])
    method.history_ = pd.DataFrame(state["history"])
    method.history_["validation"] = method.history_["validation"].astype(float)
    method.catalogue_ = Catalogue(
        _ids_from_tensor(tensors["user_ids"], state["id_dtypes"][0]),
        _ids_from_tensor(tensors["item_ids"], state["id_dtypes"][1]),
        tensors["seen_offsets"].numpy(),
        tensors["seen_items"].numpy(),
    )
    method.model_ = _model(method, tensors)
    return method


def _model(method: Method, tensors: dict[str, Tensor]) -> MatrixFactorization:
    model = MatrixFactorization(method.n_users_, method.n_items_, method.factors, seed=0, offset=method.offset_)
    storage.copy_into(model.tables(), {name: tensors[name] for name in TABLE_NAMES if name in tensors}, "")
    return model


def _ids_to_tensor(ids: pd.Index, name: str) -> Tensor:
    # UTF-8 JSON as bytes: the header of a safetensors file is limited to 100 MB, a tensor is not.
    values: list[Any] = ids.tolist()
    if not all(isinstance(value, (str, int, float)) for value in values):
        raise DebiasRecError(f"{name} must be strings or numbers to be saved, got dtype {ids.dtype}")
    return torch.from_numpy(np.frombuffer(json.dumps(values).encode(), dtype=np.uint8).copy())


def _ids_from_tensor(tensor: Tensor, dtype: str) -> pd.Index:
    return pd.Index(json.loads(tensor.numpy().tobytes().decode()), dtype=dtype)
