"""Files that are whole or not there, and errors on one line."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MOST_MESSAGE = 200


def one_line(message: object) -> str:
    """Returns what an error says as one short printable line: a hostile file may quote itself.

    Args:
        message: an error, or its text.
    """
    text = str(message)
    short = text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in short)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a new file under a temporary name; it gets its own when the block ends without error.

    Its content is on the disk then. After an error nothing is left, and what was there stays.

    Args:
        path: of the file; `stream.name` is where it is meanwhile.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    stream = temporary.open("xb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
