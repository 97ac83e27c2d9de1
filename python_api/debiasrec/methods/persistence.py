"""Fitted methods on disk: one safetensors file whose header holds the rest as JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.methods.serving import Catalogue
from debiasrec.models import MODELS, Model
from debiasrec.training import checkpoint as storage

if TYPE_CHECKING:
    from debiasrec.methods.base import Method

MODEL_FILE = "model.safetensors"
_FORMAT = 3
_FITTED = ("threshold_", "n_users_", "n_items_", "best_epoch_", "stopped_by_", "fit_seconds_")


def plain_params(method: Method) -> dict[str, Any]:
    """The hyper-parameters as JSON can hold them: numpy scalars as numbers, methods by name and hyper-parameters."""
    return {key: _plain(value) for key, value in method.get_params(deep=False).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        return {"method": value.name, "params": plain_params(value)}
    return value.item() if isinstance(value, np.generic) else value


def digest(method: Method) -> str:
    """The name and a hash of the fitted model: equal for methods that predict the same."""
    content = hashlib.sha256(json.dumps([method.model_.kind, method.model_.settings()]).encode())
    for name, tensor in _tensors(method.model_).items():
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"{method.name} {content.hexdigest()[:16]}"


def write(method: Method, path: Path, origin: dict[str, Any] | None = None) -> None:
    """Write a fitted method as one file, replacing an older one in one piece.

    Args:
        method: a fitted one.
        path: the file; its folder is made if it is missing.
        origin: what `read` is to hand back beside the method, as JSON can hold it.
    """
    catalogue = method.catalogue_
    tensors: dict[str, Tensor] = {
        "seen_offsets": torch.from_numpy(catalogue.seen_offsets),
        "seen_items": torch.from_numpy(catalogue.seen_items),
        "user_ids": _ids_to_tensor(catalogue.user_ids, "user_ids"),
        "item_ids": _ids_to_tensor(catalogue.item_ids, "item_ids"),
        **_tensors(method.model_),
    }
    history = method.history_.astype(object).where(method.history_.notna(), None)
    state = {
        "format": _FORMAT,
        "origin": origin,
        "method": method.name,
        "params": plain_params(method),
        "model": {"kind": method.model_.kind, "settings": method.model_.settings()},
        "fitted": {name: getattr(method, name) for name in _FITTED},
        "history": history.to_dict(orient="list"),
        "id_dtypes": [str(catalogue.user_ids.dtype), str(catalogue.item_ids.dtype)],
    }
    storage.write(path, tensors, state)


def load_model(directory: str | Path) -> Method:
    """The fitted method that `Method.save` wrote into `directory`.

    Raises:
        DebiasRecError: no model there, a damaged file, or one of another format.
    """
    return read(Path(directory) / MODEL_FILE)[0]


def read(path: Path) -> tuple[Method, Any]:
    """The method in a file and the origin that it was written with; errors are those of `load_model`."""
    tensors, state = storage.read(path)
    if state.get("format") != _FORMAT:
        raise DebiasRecError(f"{path} has format {state.get('format')!r}, this version reads format {_FORMAT}")
    method = _made(state)
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
    method.model_ = _model(state["model"], tensors)
    return method, state["origin"]


def _made(state: dict[str, Any]) -> Method:
    from debiasrec.methods.registry import make

    params = {key: _made(value) if isinstance(value, dict) else value for key, value in state["params"].items()}
    return make(state["method"], **params)


def _model(state: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    model = MODELS[state["kind"]].blank(**state["settings"])
    storage.copy_into(_tensors(model), tensors, "")
    return model


def _tensors(model: Model) -> dict[str, Tensor]:
    return {**model.tables(), **model.constants()}


def _ids_to_tensor(ids: pd.Index, name: str) -> Tensor:
    # UTF-8 JSON as bytes: the header of a safetensors file is limited to 100 MB, a tensor is not.
    values: list[Any] = ids.tolist()
    if not all(isinstance(value, (str, int, float)) for value in values):
        raise DebiasRecError(f"{name} must be strings or numbers to be saved, got dtype {ids.dtype}")
    return torch.from_numpy(np.frombuffer(json.dumps(values).encode(), dtype=np.uint8).copy())


def _ids_from_tensor(tensor: Tensor, dtype: str) -> pd.Index:
    return pd.Index(json.loads(tensor.numpy().tobytes().decode()), dtype=dtype)
