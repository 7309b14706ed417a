"""Files that are whole or not there, names that are safe in paths, and errors on one line."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MOST_MESSAGE = 200
MOST_NAME = 64


def one_line(message: object) -> str:
    """Returns a `message` or error as one short printable line: a hostile file may quote itself."""
    text = str(message)
    short = text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def safe_name(text: str) -> str:
    """Returns a `text` that came from a file as one part of a path, the same if it is safe already.

    ASCII letters, digits, `-`, `_` and `.`, no dot in front, 1 to 64 of them; others become `-`.
    """
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text[: 4 * MOST_NAME]).lstrip(".")[:MOST_NAME]
    return kept or "unnamed"


@contextlib.contextmanager
def whole_file(path: Path, private: bool = False) -> Iterator[BinaryIO]:
    """Yields a new file under a temporary name; it gets its own when the block ends without error.

    After an error nothing is left, and what was there stays.

    Args:
        path: of the file; `stream.name` is where it is meanwhile.
        private: for its owner alone, and the disk is not waited for: what can be made again.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.touch(0o600 if private else 0o666, exist_ok=False)
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            if not private:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
