"""One safetensors file, replaced in one piece: tensors, and JSON in its header."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from debiasrec.errors import DebiasRecError
from debiasrec.report.atomic import write_atomically

CHECKPOINT_FILE = "checkpoint.safetensors"


class CheckpointError(DebiasRecError):
    """A file that cannot be read, or that belongs to another training run."""


def write(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and JSON state as one file; a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder is made if it is missing.
        tensors: by name; copied to the CPU.
        state: what JSON can hold.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state, allow_nan=False)
    content = safetensors.torch.save(plain, metadata={"state": text, "crc32": _checksum(plain, text)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON state of a file written by `write`.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        text, kept = metadata["state"], metadata["crc32"]
    except (safetensors.SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path} is not a readable file of debiasrec: {error}") from error
    if _checksum(tensors, text) != kept:
        raise CheckpointError(f"{path} is damaged: its content does not have the checksum that was written")
    return tensors, json.loads(text)


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """The CRC-32 of names, values and text, which a safetensors file does not hold by itself."""
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(tensors[name].numpy().data, crc)
    return f"{crc:08x}"


@torch.no_grad()
def copy_into(live: Mapping[str, Tensor], stored: Mapping[str, Tensor], prefix: str) -> None:
    """Copy the stored tensors whose names start with `prefix` into the live ones.

    Raises:
        CheckpointError: a tensor is missing, or its shape differs.
    """
    for name, tensor in live.items():
        found = stored.get(prefix + name)
        if found is None or found.shape != tensor.shape:
            what = "is missing" if found is None else f"has shape {tuple(found.shape)}, expected {tuple(tensor.shape)}"
            raise CheckpointError(f"the checkpoint does not fit the model: tensor {name!r} {what}")
        tensor.copy_(found)
