from __future__ import annotations

import os

import pytest
import torch

from debiasrec.training import checkpoint as storage


def test_tensors_and_state_come_back_exactly(tmp_path):
    tensors = {"a": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), "steps": torch.tensor(7)}
    state = {"loss": [0.1, 1 / 3], "none": None, "name": "käse"}
    storage.write(tmp_path / "deep" / "x.safetensors", tensors, state)
    found, found_state = storage.read(tmp_path / "deep" / "x.safetensors")
    assert found_state == state
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    storage.write(path, {"a": torch.zeros(1)}, {"n": 1})

    def no_space(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        storage.write(path, {"a": torch.ones(1)}, {"n": 2})
    tensors, state = storage.read(path)
    assert state == {"n": 1}
    assert tensors["a"].item() == 0


@pytest.mark.parametrize("content", [b"", b"not a file of ours", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(storage.CheckpointError, match=r"x\.safetensors is not a readable file"):
        storage.read(path)


@pytest.mark.parametrize("word", [b"\x00\x00\x80?", rb"\"n\": 1"])
def test_changed_values_or_states_are_refused_by_name(tmp_path, word):
    path = tmp_path / "x.safetensors"
    storage.write(path, {"a": torch.ones(1)}, {"n": 1})
    content = path.read_bytes()
    assert content.count(word) == 1
    path.write_bytes(content.replace(word, word[:-1] + b"2"))
    with pytest.raises(storage.CheckpointError, match=r"x\.safetensors is damaged"):
        storage.read(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(storage.CheckpointError, match="does not exist"):
        storage.read(tmp_path / "x.safetensors")


def test_tensors_of_another_shape_are_refused():
    with pytest.raises(storage.CheckpointError, match=r"'a' has shape \(2,\), expected \(3,\)"):
        storage.copy_into({"a": torch.zeros(3)}, {"live.a": torch.zeros(2)}, "live.")
    with pytest.raises(storage.CheckpointError, match="'a' is missing"):
        storage.copy_into({"a": torch.zeros(3)}, {}, "live.")
