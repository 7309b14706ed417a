"""Keeps engines that take minutes to build: `$XDG_CACHE_HOME/tofa-edge/engines`.

Loading an engine runs machine code from it, so only files that nobody else could have written are
read. Nothing here may fail a build: what cannot be read or trusted is built anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from tofa_edge.storage.cache import cache_folder, intruders, mark_used, write_whole

LOGGER = logging.getLogger("tofa_edge.tensorrt")
MOST_FILES = 64
MOST_BYTES = 512 * 2**20
MAGIC = b"tofa-edge engine 1\n"
MOST_HEADER = 4096

Facts = Mapping[str, str]


def seal(facts: Facts, content: bytes) -> bytes:
    """Returns content behind what it depends on and its hash: one line of JSON."""
    header = {"facts": dict(facts), "sha256": hashlib.sha256(content).hexdigest()}
    return MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n" + content


def unseal(sealed: bytes) -> tuple[dict[str, str], bytes]:
    """Returns the facts and the content that `seal` was given."""
    if not sealed.startswith(MAGIC):
        raise ValueError("not an engine that this package built")
    end = sealed.find(b"\n", len(MAGIC), len(MAGIC) + MOST_HEADER)
    try:
        header = json.loads(sealed[len(MAGIC) : end])
        facts = {str(key): str(value) for key, value in header["facts"].items()}
        wanted = header["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"an engine with a damaged header ({error})") from error
    content = sealed[end + 1 :]
    if end < 0 or hashlib.sha256(content).hexdigest() != wanted:
        raise ValueError("an engine that is damaged or incomplete")
    return facts, content


def folder() -> Path:
    """Returns where engines are kept."""
    return cache_folder().with_name("engines")


def recall(name: str) -> bytes | None:
    """Returns a kept file's content, or None where it is absent, not ours alone, or unreadable."""
    path = folder() / name
    with contextlib.suppress(OSError, RuntimeError):
        if not path.exists() or not _ours_alone(folder()):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or intruders(status) or status.st_size > MOST_BYTES:
                LOGGER.warning("%s is not used: it is not a file that only we can write", path)
                return None
            content = file.read(MOST_BYTES + 1)
        mark_used(path)
        return content
    return None


def remember(name: str, content: bytes) -> None:
    """Keeps a file, and drops the least recently used beyond 64 files or 512 MB."""
    with contextlib.suppress(OSError, RuntimeError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _ours_alone(folder()):
            return
        write_whole(folder() / name, content)
        _drop()


def _drop() -> None:
    kept = [(path, path.stat()) for path in folder().iterdir()]
    total = 0
    newest_first = sorted(kept, key=lambda item: -item[1].st_mtime)
    for number, (path, status) in enumerate(newest_first):
        total += status.st_size
        if number >= MOST_FILES or total > MOST_BYTES:
            path.unlink(missing_ok=True)


def _ours_alone(place: Path) -> bool:
    status = place.lstat()
    reason = intruders(status) if stat.S_ISDIR(status.st_mode) else "it is a link or no folder"
    if reason:
        LOGGER.warning("engines in %s are not used: %s; chmod 700 it, or remove it", place, reason)
    return reason is None
