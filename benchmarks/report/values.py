"""Values from a file that is not trusted: each is of its type, or absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 160  # characters of a text


def number(value: object) -> float | None:
    """Returns a finite number that is not negative, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        return None
    return float(value)


def whole(value: object) -> int | None:
    """Returns such a number without its fraction."""
    found = number(value)
    return None if found is None else int(found)


def text(value: object) -> str | None:
    """Returns text of bounded length without control characters, None for anything else."""
    if not isinstance(value, str):
        return None
    shown = "".join(c if c.isprintable() else " " for c in value[: LONGEST + 1]).strip()
    return shown[:LONGEST] + "…" if len(shown) > LONGEST else shown or None


def mapping(value: object) -> Mapping[str, Any]:
    """Returns a mapping; empty for anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Returns the mappings in a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """Returns the texts in a list."""
    return [words for item in value if (words := text(item))] if isinstance(value, list) else []
