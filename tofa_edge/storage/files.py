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
    """Returns a `message` or error as one short printable line: a hostile file may quote itself."""
    text = str(message)
    short = text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in short)


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
