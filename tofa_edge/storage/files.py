"""Files that are whole or not there, names that are safe in paths, and errors on one line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MOST_MESSAGE = 200
MOST_NAME = 64
TOKEN_BYTES = 8  # in the name that a file has until it is whole
EXISTS_BY_NOW = "it is there by now; choose another name, or --force (overwrite=True)"
STALE_S = 60.0  # after the last write; nothing here is written so slowly


def one_line(message: object) -> str:
    """Returns a `message` or error as one short printable line: a hostile file may quote itself."""
    text = str(message)
    short = text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def printable(text: str, most: int) -> str:
    """Returns the first `most` letters of a `text`, blanks for those that do not print."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:most])


def safe_name(text: str) -> str:
    """Returns a `text` that came from a file as one part of a path, the same if it is safe already.

    ASCII letters, digits, `-`, `_` and `.`, no dot in front, 1 to 64 of them; others become `-`.
    """
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text[: 4 * MOST_NAME]).lstrip(".")[:MOST_NAME]
    return kept or "unnamed"


def check_place(path: Path, overwrite: bool, refused: type[Exception]) -> None:
    """Checks that a file can be written and replaces nothing, before what it is for is worked out.

    Args:
        path: of the file, as the user named it.
        overwrite: whether a file of that name may be replaced.
        refused: the kind of error to raise.

    Raises:
        refused: there is a file of that name and `overwrite` is false, or something that is no
            file; or the folder is missing or takes no file of that name.
    """
    if path.is_dir():
        raise refused(f"{path} is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise refused(f"{path} is no regular file: choose another name")
    if os.path.lexists(path) and not overwrite:
        raise refused(f"{path} exists: choose another name, or --force (overwrite=True)")
    if not path.parent.is_dir():
        raise refused(f"{path}: cannot be written: there is no folder {path.parent}: make it first")
    try:
        temporary = _temporary(path)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise refused(f"{path}: cannot be written: {reason}: choose another place") from error


@contextlib.contextmanager
def whole_file(
    path: Path, private: bool = False, folder: int | None = None, overwrite: bool = True
) -> Iterator[BinaryIO]:
    """Yields a new file under a temporary name; it gets its own when the block ends without error.

    After an error nothing is left, and what was there stays.

    Args:
        path: of the file; `stream.name` is where it is meanwhile.
        private: for its owner alone, and the disk is not waited for: what can be made again.
        folder: descriptor of the folder that a relative `path` begins in, whatever its name is now.
        overwrite: whether it replaces a file of that name, also one that is new by the end.

    Raises:
        FileExistsError: there is one at the end, and `overwrite` is false.
        OSError: it cannot be written.
    """
    temporary = _temporary(path)

    def create(name: str, flags: int) -> int:
        mode = 0o600 if private else 0o666
        return os.open(name, flags | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)

    try:
        with open(temporary, "wb", opener=create) as stream:
            yield stream
            stream.flush()
            if not private:
                os.fsync(stream.fileno())
        if overwrite:
            os.replace(temporary, path, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            rename_new(temporary, path, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def write_whole(path: Path, content: bytes, overwrite: bool, refused: type[Exception]) -> None:
    """Writes a file for which `check_place` was asked before, whole or not at all.

    Args:
        path: of the file, as the user named it.
        content: of the file.
        overwrite: whether it replaces a file of that name, also one that is new by now.
        refused: the kind of error to raise.

    Raises:
        refused: it cannot be written, or would replace a file and `overwrite` is false.
    """
    try:
        with whole_file(path, overwrite=overwrite) as stream:
            stream.write(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise refused(f"{path}: cannot be written: {reason}") from error


def rename_new(old: Path, new: Path, folder: int | None = None) -> None:
    """Renames a file, and replaces none: no other process can come between the check and the name.

    Args:
        old: path of the file.
        new: path in the same file system.
        folder: descriptor of the folder that relative paths begin in.

    Raises:
        FileExistsError: there is something of the new name; the file keeps its old one.
        OSError: it cannot be renamed.
    """
    try:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, EXISTS_BY_NOW, os.fspath(new)) from None
    except (OSError, NotImplementedError):  # some file systems know no second names
        _reserve(new, folder)
        try:
            os.replace(old, new, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(new, dir_fd=folder)
            raise
    else:
        os.unlink(old, dir_fd=folder)


def _reserve(path: Path, folder: int | None) -> None:
    """Makes an empty file of a name that is free."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=folder))
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, EXISTS_BY_NOW, os.fspath(path)) from None


def sweep(folder: Path, pattern: str) -> None:
    """Removes what `whole_file` left in a folder where its process was killed.

    Args:
        folder: where files were to be written.
        pattern: of their own names, such as "bench-*"; those still being written are spared.
    """
    for path in folder.glob(f".{pattern}.{'[0-9a-f]' * 2 * TOKEN_BYTES}.tmp"):
        with contextlib.suppress(OSError):
            if path.is_file() and time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


def _temporary(path: Path) -> Path:
    """Returns a new name beside a file's own."""
    return path.with_name(f".{path.name}.{secrets.token_hex(TOKEN_BYTES)}.tmp")
