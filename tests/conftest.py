"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets, one folder each as their publishers lay them out."""
    root = os.environ.get("DEBIASREC_DATA")
    if not root:
        pytest.skip("needs real data: set DEBIASREC_DATA to the folder that holds coat/ and yahoo_r3/")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"DEBIASREC_DATA={root} is not a folder")
    return path


@pytest.fixture
def one_and_two_threads() -> Iterator[None]:
    """Restores torch's thread count after a test that changes it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
