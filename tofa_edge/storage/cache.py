"""Folders of the user's cache, shared by all that is remembered here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def decision_key(facts: Mapping[str, Any]) -> str:
    """Returns the name of a decision: a hash of everything that it depends on.

    Args:
        facts: plain JSON values.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Returns where decisions are kept: `$XDG_CACHE_HOME/tofa-edge`, by default in `~/.cache`.

    Without a home directory that is a place where nothing can be, so that nothing is remembered.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        base = os.devnull
    return Path(base) / "tofa-edge" / "decisions"


def mark_used(path: Path) -> None:
    """Puts off when a file of the cache is dropped: the least recently used goes first."""
    with contextlib.suppress(OSError):  # read it may be all the same
        os.utime(path)


def least_used(folder: Path, most: int, but: Path) -> list[Path]:
    """Returns the JSON files of a folder to drop, so that no more than `most` stay.

    Args:
        folder: of the cache.
        most: to keep.
        but: that was just written, and stays: where the clock jumped back, others look newer.

    Raises:
        OSError: it cannot be read.
    """
    others = [path for path in folder.glob("*.json") if path != but]
    return sorted(others, key=lambda path: -path.stat().st_mtime)[most - 1 :]


def intruders(status: os.stat_result) -> str | None:
    """Returns who else could have written to a file or folder, or None.

    Args:
        status: of the file or folder, as `os.stat` returns it.
    """
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return None


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file of the cache under another name first: readers never see half of it.

    Args:
        path: of the file.
        content: all of it.

    Raises:
        OSError: it cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
