"""The user's cache: private folders of bounded size, whose least recently used entries go first.

Nothing here raises: what cannot be written is not kept, what cannot be read or trusted is missing.
Everything is opened below the cache's own folder, step by step and through no link, so that nobody
who may write somewhere there can make this process read, write or delete anything elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tofa_edge.storage.files import one_line, safe_name, whole_file

LOGGER = logging.getLogger(__name__)
FAILURES = (OSError, RuntimeError, ValueError)
OURS = "tofa-edge"
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LEFT_BEHIND = 3600  # seconds after which nobody is writing a temporary file any more
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def decision_key(facts: Mapping[str, Any]) -> str:
    """Returns the name of a cached entry: a hash of the `facts`, plain JSON, it depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def cache_folder(name: str) -> Path:
    """Returns where the folder `name` of the cache is: `$XDG_CACHE_HOME/tofa-edge/name`.

    Without a home directory that is a place where nothing can be, so that nothing is remembered.
    """
    return _base() / OURS / name


def _base() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)


class _RefusedError(Exception):
    """Why a folder of the cache is not used, in one line."""


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """A folder of the cache. Files of one stem are one entry: used, counted and dropped together.

    It belongs to this user, and only this user may write to it and to the files that are read.
    Files of other names than those below are neither counted nor dropped.

    Attributes:
        name: of the folder.
        most_entries: that are kept.
        most_bytes: of all entries.
        most_file_bytes: of a file; larger ones are neither kept nor read.
        contents: what it holds, for a warning where that is not trusted; empty for no warning.
        stems: a pattern of its entries' names; by default those of `decision_key` and other hashes.
        suffixes: of its files.
    """

    name: str
    most_entries: int
    most_bytes: int
    most_file_bytes: int
    contents: str = ""
    stems: str = "[0-9a-f]{20,64}"
    suffixes: tuple[str, ...] = ("json", "artefact", "engine", "timings")

    @property
    def path(self) -> Path:
        """Where it is; perhaps not there yet."""
        return cache_folder(self.name)

    def refusal(self) -> str:
        """Returns in one line why nothing in it is used or kept; empty where it is.

        A folder that is not there yet is no reason.
        """
        try:
            with self._opened(make=False):
                return ""
        except FileNotFoundError:
            return ""
        except (*FAILURES, _RefusedError) as error:
            return self._reason(error)

    def read(self, name: str, use: bool = True) -> bytes | None:
        """Returns the content of a file, None where there is none to be trusted.

        Args:
            name: of the file.
            use: marks it as used now, so that others are dropped first.
        """
        with contextlib.suppress(*FAILURES):
            try:
                with self._opened(make=False) as folder:
                    return self._read(folder, name, use)
            except _RefusedError as error:
                self._warn(f"{self.contents} in {self.path} are not used: {error}")
        return None

    def keep(self, name: str, content: bytes) -> str:
        """Keeps a file and drops the least recently used entries.

        Args:
            name: of the file.
            content: all of it.

        Returns:
            In one line why it is not kept; empty where it is.
        """
        if len(content) > self.most_file_bytes:
            return f"{self.path}: {len(content)} bytes are over {self.most_file_bytes}"
        try:
            with self._opened(make=True) as folder:
                place = Path(_plain(name))
                with whole_file(place, private=True, folder=folder) as stream:
                    stream.write(content)
                self._tidy(folder, kept=stem(name))
            return ""
        except (*FAILURES, _RefusedError) as error:
            return self._reason(error)

    def write(self, name: str, content: bytes) -> bool:
        """Keeps a file of a `name` and `content` as `keep` does, and returns whether it is kept."""
        return not self.keep(name, content)

    def names(self) -> list[str]:
        """Returns the names of all its files in order."""
        with contextlib.suppress(*FAILURES, _RefusedError), self._opened(make=False) as folder:
            return sorted(filter(self._is_own, _listed(folder)))
        return []

    def forget(self, entry: str) -> None:
        """Drops an `entry`, if it is there."""
        with contextlib.suppress(*FAILURES, _RefusedError), self._opened(make=False) as folder:
            self._drop(folder, _plain(entry))

    @contextlib.contextmanager
    def _opened(self, make: bool) -> Iterator[int]:
        """Yields the folder's descriptor if it is to be trusted; `make` makes it if need be."""
        base = _base()
        if make:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            outer = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, outer)
            inner = _inside(outer, OURS, base / OURS, make)
            stack.callback(os.close, inner)
            if os.fstat(inner).st_mode & OTHERS:  # by a loose umask; what is in it is checked, too
                os.fchmod(inner, 0o700)
            folder = _inside(inner, self.name, self.path, make)
            stack.callback(os.close, folder)
            if os.fstat(folder).st_mode & OTHERS:
                where = "" if self.contents else f"{self.path}: "
                raise _RefusedError(f"{where}others may write to it; chmod 700 it, or remove it")
            yield folder

    def _read(self, folder: int, name: str, use: bool) -> bytes | None:
        descriptor = os.open(_plain(name), FILE, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            ours = status.st_uid == os.geteuid() and not status.st_mode & OTHERS
            if not (ours and stat.S_ISREG(status.st_mode)):
                self._warn(
                    f"{self.path / name} is not used: it is not a file that only we can write"
                )
                return None
            if status.st_size > self.most_file_bytes:
                return None
            content = file.read(self.most_file_bytes + 1)
            if use:
                with contextlib.suppress(OSError):  # it may be readable all the same
                    os.utime(descriptor)
        return content if len(content) <= self.most_file_bytes else None

    def _is_own(self, name: str) -> bool:
        return re.fullmatch(rf"{self.stems}\.({'|'.join(self.suffixes)})", name) is not None

    def _drop(self, folder: int, entry: str) -> None:
        for suffix in self.suffixes:
            with contextlib.suppress(OSError):
                os.unlink(f"{entry}.{suffix}", dir_fd=folder)

    def _tidy(self, folder: int, kept: str) -> None:
        """Drops the entries over the limits, and what writers that were killed have left.

        The entry just written comes first: where the clock jumped back, others look newer.
        """
        files: dict[str, list[os.stat_result]] = defaultdict(list)
        for name in _listed(folder):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    continue
                if self._is_own(name):
                    files[stem(name)].append(status)
                elif self._is_left_behind(name, status):
                    os.unlink(name, dir_fd=folder)
        used = {key: max(status.st_mtime for status in files[key]) for key in files}
        total = 0
        for number, key in enumerate(sorted(used, key=lambda key: (key != kept, -used[key]))):
            total += sum(status.st_size for status in files[key])
            if number >= self.most_entries or total > self.most_bytes:
                self._drop(folder, key)

    def _is_left_behind(self, name: str, status: os.stat_result) -> bool:
        temporary = re.fullmatch(r"\.(.+)\.[0-9a-f]{16}\.tmp", name)
        old = abs(time.time() - status.st_mtime) > LEFT_BEHIND
        return temporary is not None and self._is_own(temporary[1]) and old

    def _reason(self, error: Exception) -> str:
        if isinstance(error, _RefusedError):
            return str(error)
        if _base() == Path(os.devnull):
            return "there is no folder to keep anything in: set XDG_CACHE_HOME to one"
        return one_line(f"{self.path}: {getattr(error, 'strerror', None) or error}")

    def _warn(self, message: str) -> None:
        if self.contents:
            LOGGER.warning(message)


def stem(name: str) -> str:
    """Returns the entry that a file belongs to: its `name` up to the last dot."""
    return name.rpartition(".")[0] or name


def _listed(folder: int) -> list[str]:
    with os.scandir(folder) as found:
        return [item.name for item in found]


def _plain(name: str) -> str:
    if safe_name(name) != name:
        raise ValueError(f"{one_line(name)} is no name of a file in the cache")
    return name


def _inside(outer: int, name: str, path: Path, make: bool) -> int:
    """Returns the descriptor of a folder of ours in another one; `path` is for the message."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=outer)
    status = os.stat(name, dir_fd=outer, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise _RefusedError(f"{path}: it is a link or no folder; remove it")
    folder = os.open(name, FOLDER, dir_fd=outer)
    owner = os.fstat(folder).st_uid
    if owner != os.geteuid():
        os.close(folder)
        remedy = f"chown it to user {os.geteuid()}, or remove it"
        raise _RefusedError(f"{path}: it belongs to user {owner}; {remedy}")
    return folder
