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
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def read_bounded(path: Path, most_bytes: int, owned: bool = False) -> bytes:
    """Returns the content of a regular file of a bounded size.

    Args:
        path: of the file.
        most_bytes: that it may have.
        owned: whether root and this user alone may be able to write to it.

    Raises:
        TrustError: it cannot be read, is none, is larger, or others may write to it.
    """
    try:
        descriptor = os.open(path, READING)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise TrustError(f"{path}: cannot be read: {reason}") from error
    status = os.fstat(descriptor)  # of what is read, whatever has its name by now
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise TrustError(f"{path}: cannot be read: it is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        if owned and (status.st_mode & OTHERS or status.st_uid not in (0, os.geteuid())):
            raise TrustError(
                f"{path}: others may write to it, so it proves nothing; chown and chmod"
            )
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
