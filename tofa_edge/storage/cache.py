"""The user's cache: private folders of bounded size, whose least recently used entries go first.

Nothing here raises: what cannot be written is not kept, what cannot be read or trusted is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tofa_edge.storage.files import whole_file

LOGGER = logging.getLogger(__name__)
FAILURES = (OSError, RuntimeError, ValueError)


def decision_key(facts: Mapping[str, Any]) -> str:
    """Returns the name of a cached entry: a hash of the `facts`, plain JSON, it depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def cache_folder(name: str) -> Path:
    """Returns where the folder `name` of the cache is: `$XDG_CACHE_HOME/tofa-edge/name`.

    Without a home directory that is a place where nothing can be, so that nothing is remembered.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        base = os.devnull
    return Path(base) / "tofa-edge" / name


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """A folder of the cache. Files of one stem are one entry: used, counted and dropped together.

    Attributes:
        name: of the folder.
        most_entries: that are kept.
        most_bytes: of all entries.
        most_file_bytes: of a file; larger ones are not read.
        runs_as_code: whether what is read may run as machine code; then only files are read that
            nobody else can write.
        contents: what it holds, for a warning where that is not trusted; empty for no warning.
    """

    name: str
    most_entries: int
    most_bytes: int
    most_file_bytes: int
    runs_as_code: bool = True
    contents: str = ""

    @property
    def path(self) -> Path:
        """Where it is; perhaps not there yet."""
        return cache_folder(self.name)

    def read(self, name: str, use: bool = True) -> bytes | None:
        """Returns the content of a file, None where there is none to be trusted.

        Args:
            name: of the file.
            use: marks it as used now, so that others are dropped first.
        """
        path = self.path / name
        with contextlib.suppress(*FAILURES):
            if not path.exists() or not self._is_trusted():
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not self._may_be_read(status):
                    self._warn("%s is not used: it is not a file that only we can write", path)
                    return None
                content = file.read(self.most_file_bytes + 1)
            if use:
                with contextlib.suppress(OSError):  # it may be readable all the same
                    os.utime(path)
            return content
        return None

    def write(self, name: str, content: bytes) -> bool:
        """Keeps a file, drops the least recently used entries, and returns whether it is kept.

        Args:
            name: of the file.
            content: all of it.
        """
        with contextlib.suppress(*FAILURES):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._is_trusted():
                with whole_file(self.path / name, private=True) as stream:
                    stream.write(content)
                self._drop_least_used(kept=stem(name))
                return True
        return False

    def names(self) -> list[str]:
        """Returns the names of all complete files in order."""
        names = sorted(path.name for paths in self._entries().values() for path in paths)
        return [name for name in names if not name.startswith(".")]

    def forget(self, entry: str) -> None:
        """Drops an `entry`, if it is there."""
        for path in self._entries().get(entry, []):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _entries(self) -> dict[str, list[Path]]:
        entries: dict[str, list[Path]] = defaultdict(list)
        with contextlib.suppress(*FAILURES):
            for path in self.path.iterdir():
                entries[stem(path.name)].append(path)
        return entries

    def _drop_least_used(self, kept: str) -> None:
        """The entry just written comes first: where the clock jumped back, others look newer."""
        with contextlib.suppress(*FAILURES):
            files = {
                key: [path.lstat() for path in paths] for key, paths in self._entries().items()
            }
            used = {key: max(status.st_mtime for status in files[key]) for key in files}
            total = 0
            for number, key in enumerate(sorted(used, key=lambda key: (key != kept, -used[key]))):
                total += sum(status.st_size for status in files[key])
                if number >= self.most_entries or total > self.most_bytes:
                    self.forget(key)

    def _is_trusted(self) -> bool:
        if not self.runs_as_code:
            return True
        status = self.path.lstat()
        reason = _intruders(status) if stat.S_ISDIR(status.st_mode) else "it is a link or no folder"
        if reason:
            message = "%s in %s are not used: %s; chmod 700 it, or remove it"
            self._warn(message, self.contents, self.path, reason)
        return reason is None

    def _may_be_read(self, status: os.stat_result) -> bool:
        ours = not (self.runs_as_code and _intruders(status))
        return stat.S_ISREG(status.st_mode) and ours and status.st_size <= self.most_file_bytes

    def _warn(self, message: str, *values: object) -> None:
        if self.contents:
            LOGGER.warning(message, *values)


def stem(name: str) -> str:
    """Returns the entry that a file belongs to: its `name` up to the first dot."""
    return name.partition(".")[0]


def _intruders(status: os.stat_result) -> str | None:
    """Returns who else could have written to a file or folder."""
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return None
