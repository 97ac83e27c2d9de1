import pytest
from conftest import FLOATS, Device


@pytest.fixture
def device() -> Device:
    return Device("cpu", "cpu", FLOATS)
