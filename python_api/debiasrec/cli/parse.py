"""Words of the command line as values."""

from __future__ import annotations

import json
from typing import Any

from ..errors import DebiasRecError

WORDS = {"true": True, "false": False, "none": None}


def parse_list(text: str, flag: str) -> list[str]:
    """Comma-separated words.

    Raises:
        DebiasRecError: nothing in it.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise DebiasRecError(f"{flag} expects a comma-separated list, got {text!r}")
    return words


def parse_numbers(text: str, flag: str, kind: type = int) -> list:
    """Comma-separated numbers of one kind.

    Raises:
        DebiasRecError: nothing in it, or something that is no such number.
    """
    words = parse_list(text, flag)
    try:
        return [kind(word) for word in words]
    except ValueError:
        raise DebiasRecError(f"{flag} expects numbers separated by commas, got {text!r}") from None


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """``["lr=0.01", "optimizer=sgd"]`` as a dictionary: values as JSON where they are JSON, else as text.

    Raises:
        DebiasRecError: a setting without a name or an equals sign.
    """
    parsed = {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise DebiasRecError(f"--set expects OPTION=VALUE, got {setting!r}")
        parsed[key.strip()] = _value(text.strip())
    return parsed


def _value(text: str) -> Any:
    """``true`` and ``False``, ``none``, ``3``, ``.01``, ``1e-3`` as what they mean; anything else is a string."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for read in (json.loads, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def settings_by_method(settings: list[str] | None, methods: list[str]) -> dict[str, dict[str, Any]]:
    """``ips.lr=0.01`` sets one method, ``lr=0.01`` all of them; the former wins.

    Args:
        settings: OPTION=VALUE or METHOD.OPTION=VALUE.
        methods: the names to spread the common settings over.

    Returns:
        Method to its settings; also for a method outside ``methods``, so that the caller can complain about it.
    """
    shared: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for key, value in parse_settings(settings).items():
        method, dot, option = key.partition(".")
        if dot:
            own.setdefault(method, {})[option] = value
        else:
            shared[key] = value
    return {method: merged for method, options in own.items() if (merged := {**shared, **options})}
