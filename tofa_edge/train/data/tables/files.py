"""The files that a table or boxes name: relative to its folder, in it, and there."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.images.formats import SUFFIXES

log = logging.getLogger(__name__)

MOST_MISSING = 0.05  # of all files; beyond, something is wrong with the table
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
OTHER_SYSTEM = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\photos\1.jpg, \\server\photos\1.jpg


@dataclass(frozen=True)
class Place:
    """Where the files that a list names are searched.

    Attributes:
        source: the list, for messages.
        root: the folder that they must lie in.
        folders: that names are relative to, the first with such a file counts.
        allow_outside: whether they may lie outside of `root`.
    """

    source: Path
    root: Path
    folders: tuple[Path, ...]
    allow_outside: bool = False

    def find(self, name: str) -> Path:
        """Returns the path of a file by the `name` in the list, whether it is there or not.

        Backslashes separate folders where no file has them in its name; a name without a suffix
        may lack that of a photo.

        Raises:
            DataError: it is an address, a path of another system, or outside of the folder.
        """
        self._check(name)
        written = dict.fromkeys((name, name.replace("\\", "/")))
        found = [folder / each for each in written for folder in self.folders]
        path = next((each for each in found if is_there(each)), None)
        if path is None and not Path(name).suffix:
            longer = (Path(f"{each}{suffix}") for each in found for suffix in SUFFIXES)
            path = next((each for each in longer if is_there(each)), None)
        path = path or found[-len(self.folders)]
        if not (self.allow_outside or _inside(path, self.root)):
            raise DataError(
                f"{self.source}: {name!r} lies outside of {self.root}: move the photos there, or "
                "give --allow-outside"
            )
        return path

    def has(self, name: str) -> bool:
        """Returns whether a `name` is that of a file that may be read."""
        try:
            return bool(name) and is_there(self.find(name))
        except DataError:
            return False

    def _check(self, name: str) -> None:
        if ADDRESS.match(name):
            raise DataError(
                f"{self.source}: {name!r} is an address: download the photos, and name the files"
            )
        if OTHER_SYSTEM.match(name):
            raise DataError(
                f"{self.source}: {name!r} is a path of a Windows machine: wanted paths relative to "
                f"{self.root}"
            )


def _inside(path: Path, root: Path) -> bool:
    """Returns whether a path lies in a folder, as it is written or without its links."""
    written = Path(os.path.normpath(path.absolute())).is_relative_to(
        os.path.normpath(root.absolute())
    )
    return written or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def is_there(path: Path) -> bool:
    """Returns whether a path is that of a file; a name that no file can have is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def are_there(source: Path, paths: Sequence[Path], seen: str = "") -> list[bool]:
    """Returns which of the `paths` are files; warns where up to 5 % of them are not.

    Args:
        source: the list that names them.
        paths: of the files.
        seen: how the list was read, for the message.

    Raises:
        DataError: more are missing; they are counted, and the first are named.
    """
    there = [is_there(path) for path in paths]
    missing = list(
        dict.fromkeys(path for path, found in zip(paths, there, strict=True) if not found)
    )
    if not missing:
        return there
    named = ", ".join(
        f"{str(path)!r}{' (a folder)' if path.is_dir() else ''}" for path in missing[:3]
    )
    line = f"{source}: {len(missing)} files are not there: {named}"
    if len(missing) > MOST_MISSING * len(set(paths)):
        raise DataError(f"{line}; paths are relative to {source.parent}{'; ' * bool(seen)}{seen}")
    log.warning(line)
    return there
