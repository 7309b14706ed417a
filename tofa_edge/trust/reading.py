"""Small files and JSON of which nothing is believed yet."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from tofa_edge.errors import TrustError
from tofa_edge.storage.files import one_line

READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Returns the content of a regular file at `path` of at most `most_bytes`.

    Raises:
        TrustError: it cannot be read, is none, or is larger.
    """
    try:
        descriptor = os.open(path, READING)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise TrustError(f"{path}: cannot be read: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TrustError(f"{path}: cannot be read: it is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as error:
            raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > most_bytes:
        raise TrustError(f"{path}: over {most_bytes} bytes; refused")
    return content


def strict_json(content: bytes) -> Any:
    """Returns the value of JSON `content` in which no name stands twice and all numbers are finite.

    Raises:
        ValueError: it is none, or nested too deep.
    """
    try:
        return json.loads(
            content.decode(), object_pairs_hook=_unique, parse_constant=_refused_constant
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
