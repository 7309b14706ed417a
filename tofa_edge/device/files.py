"""Small text files of a machine, or of a recorded copy of one, where anything may be missing.

Every method answers None or nothing rather than raise: /proc and /sys hold files that cannot be
read, that fail half way and that hold nonsense, and none of that may stop a deployment.
"""

from __future__ import annotations

import fnmatch
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 256 * 1024  # /proc/cpuinfo of 128 cores has some 200 kB
MOST_NAMES = 4096
UNREADABLE = (OSError, ValueError, RuntimeError)
NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Files:
    """Reads files by their paths below a `root`.

    It is "/" for this machine, else the folder of a recorded one, which no link leads out of.
    """

    root: Path

    @property
    def live(self) -> bool:
        """Whether this is the machine that runs us, so that it may also be asked otherwise."""
        return str(self.root) == "/"

    def content(self, path: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """Returns up to `most_bytes` of the regular file at `path`; None when it cannot be read."""
        with suppress(*UNREADABLE):
            place = self._place(path)
            # opening a pipe would wait, opening a device may do anything
            if place is not None and stat.S_ISREG(place.stat().st_mode):
                with place.open("rb") as stream:
                    return stream.read(most_bytes)
        return None

    def text(self, path: str) -> str | None:
        """Returns the text at `path` without blanks and NULs around it; None when there is none."""
        content = self.content(path)
        if content is None:
            return None
        return content.decode("utf-8", "replace").strip(" \t\r\n\0") or None

    def line(self, path: str) -> str | None:
        """Returns the first line at `path`, printable and at most 200 characters long."""
        text = self.text(path)
        return printable(text.splitlines()[0]) if text else None

    def number(self, path: str) -> int | None:
        """Returns the decimal number at `path`; None when there is anything else."""
        text = self.text(path)
        return int(text) if text and NUMBER.fullmatch(text) else None

    def exists(self, path: str) -> bool:
        """Returns whether there is something at `path`, a device node included."""
        with suppress(*UNREADABLE):
            place = self._place(path)
            return place is not None and place.exists()
        return False

    def find(self, pattern: str) -> list[str]:
        """Returns the paths that match a `pattern` (`*` in any component), in natural order."""
        paths = [""]
        for part in pattern.strip("/").split("/"):
            paths = [
                f"{folder}/{name}"
                for folder in paths
                for name in ([part] if "*" not in part else self._names(folder))
                if "*" not in part or fnmatch.fnmatchcase(name, part)
            ][:MOST_NAMES]
        return [path for path in sorted(paths, key=_natural) if self.exists(path)]

    def numbers(self, pattern: str) -> list[int]:
        """Returns the numbers in the files that match a `pattern`, without those that hold none."""
        values = (self.number(path) for path in self.find(pattern))
        return [value for value in values if value is not None]

    def _names(self, folder: str) -> list[str]:
        with suppress(*UNREADABLE):
            place = self._place(folder)
            return sorted(entry.name for entry in place.iterdir())[:MOST_NAMES] if place else []
        return []

    def _place(self, path: str) -> Path | None:
        place = self.root / path.lstrip("/")
        if self.live:
            return place
        return place if place.resolve().is_relative_to(self.root.resolve()) else None


def printable(text: str) -> str | None:
    """Returns text fit for a terminal and a profile: no controls, at most 200 characters."""
    return "".join(letter for letter in text[:200] if letter.isprintable()).strip() or None


def _natural(path: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]{1,18})", path)
    return [(int(part), "") if NUMBER.fullmatch(part) else (-1, part) for part in parts]
