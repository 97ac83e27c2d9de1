"""One sentence for a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown split 'interb': did you mean 'interd'? Known: ...``."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}"
