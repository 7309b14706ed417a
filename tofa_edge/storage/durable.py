"""Changes that survive a power cut: what a name stands for is on the disk before the name is.

The order is always the same: write under another name, wait for the disk, rename, wait for the
folder. A cut in between leaves the old file, or the new one, and never a part.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

NEW = ".new"  # added to a hidden name meanwhile; the next writer replaces what a killed one left
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write_durably(path: Path, parts: Iterable[bytes], mode: int = 0o644) -> None:
    """Writes a file, complete or not at all, and waits until the disk has it under its name.

    Only one process at a time may write a path: whoever calls holds a lock for it.

    Args:
        path: of the file; it replaces one of that name.
        parts: of its content.
        mode: of the file, whatever the umask.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    temporary = _temporary(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            for part in parts:
                _write_all(descriptor, part)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def point_durably(link: Path, target: str) -> None:
    """Makes a symbolic link point to a target, at once, and waits until the disk has it.

    Args:
        link: path of the link; it replaces one of that name.
        target: what it points to, relative to its folder.

    Raises:
        OSError: it cannot be made; what was there stays.
    """
    temporary = _temporary(link)
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(link)
    sync_folder(link.parent)


def sync_folder(path: Path) -> None:
    """Waits until the disk has the names of the folder at a `path`.

    Raises:
        OSError: the folder cannot be opened, or the disk fails.
    """
    descriptor = os.open(path, FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{NEW}")
