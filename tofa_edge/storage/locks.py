"""Locks between processes: held, busy, or unknown where the file system knows no locks.

They are those of flock(2): a holder that dies frees its lock. Nothing is raised but what the code
inside raises.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from tofa_edge.storage.cache import cache_folder

Held = Literal["held", "busy", "unknown"]
Flock = Callable[[int, int], None]

POLL_S = 0.05
TRIES = 20  # to open a file that others make or remove at the same time
FOLDER = "locks"


@contextlib.contextmanager
def exclusive(
    place: str | Path,
    seconds: float = 60.0,
    deadline: float = float("inf"),
    flock: Flock | None = None,
    note: str = "",
) -> Iterator[Held]:
    """Waits until no other process or thread holds a lock, and holds it inside.

    Args:
        place: a plain name, for a lock of this user in the cache; or the path of a file in a folder
            that others cannot write to. The file is there while somebody holds the lock.
        seconds: to wait at most.
        deadline: by `time.monotonic`, after which nobody waits either.
        flock: takes a lock as `fcntl.flock` does, which is the default.
        note: what the lock's file says while it is held, such as by whom.

    Yields:
        "held"; "busy" when another one still holds it; "unknown" where locks, or a folder for them
        that only we can write to, are not to be had. Nobody waits for those.
    """
    path = _private_path(place) if isinstance(place, str) else place
    until = min(time.monotonic() + seconds, deadline)
    file, held = (None, "unknown") if path is None else _taken(path, until, flock)
    try:
        if file is not None and held == "held" and note:
            _write_note(file, note)
        yield held
    finally:
        if file is not None:
            if held == "held" and path is not None:
                with contextlib.suppress(OSError):
                    path.unlink()  # while it is held: those who wait see that it is another file
            free_lock(file, flock)


def open_lock(path: Path, mode: int = 0o600) -> int | None:
    """Returns a descriptor of a lock's file, made if it is not there; None if it cannot be opened.

    No link is followed, and no child process inherits it. A file of another user is opened to read
    where it may not be written: a lock needs no more. Linux refuses to create what is already there
    in a folder like /tmp (fs.protected_regular), so it is opened first.

    Args:
        path: in a folder that is there.
        mode: of a new file, whatever the umask.
    """
    with contextlib.suppress(OSError, AttributeError):
        flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):
                try:
                    return os.open(path, os.O_RDWR | flags)
                except PermissionError:
                    return os.open(path, os.O_RDONLY | flags)
            with contextlib.suppress(FileExistsError):
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, mode)
                with contextlib.suppress(OSError):
                    os.fchmod(file, mode)
                return file
    return None


def take_lock(file: int, until: float, flock: Flock | None = None) -> Held:
    """Takes the lock of a descriptor, waiting while another one holds it.

    Args:
        file: of `open_lock`.
        until: by `time.monotonic`.
        flock: see `exclusive`.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return "unknown"
    while True:
        try:
            (flock or fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "held"
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                return "unknown"  # such as ENOLCK: nobody holds it, and nobody can
        left = until - time.monotonic()
        if left <= 0:
            return "busy"
        time.sleep(min(POLL_S, left))


def free_lock(file: int, flock: Flock | None = None) -> None:
    """Frees the lock of a descriptor and closes it; also for a child that was forked meanwhile.

    Args:
        file: of `open_lock`.
        flock: see `exclusive`.
    """
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        (flock or fcntl.flock)(file, fcntl.LOCK_UN)
    with contextlib.suppress(OSError):
        os.close(file)


def _taken(path: Path, until: float, flock: Flock | None) -> tuple[int | None, Held]:
    """Returns a descriptor to free, and whether the lock of the file now at `path` is held."""
    while True:
        file = open_lock(path)
        if file is None:
            return None, "unknown"
        held = take_lock(file, until, flock)
        if held != "held" or _is_at(path, file):
            return file, held
        free_lock(file, flock)  # its holder removed it: the lock is that of the next file


def _write_note(file: int, note: str) -> None:
    with contextlib.suppress(OSError):  # a lock that another user made may be open to read alone
        os.ftruncate(file, 0)
        os.pwrite(file, note.encode(), 0)


def _is_at(path: Path, file: int) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(file))
    return False


def _private_path(name: str) -> Path | None:
    folder = cache_folder(FOLDER)
    with contextlib.suppress(OSError, RuntimeError, ValueError, AttributeError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.lstat()
        others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not others_write:
            return folder / f"{name}.lock"
    return None
