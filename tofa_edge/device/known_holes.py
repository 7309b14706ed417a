"""Installed packages with known holes that a photo or a file of weights can reach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tofa_edge.device.problems import Problem


@dataclass(frozen=True, slots=True)
class KnownHole:
    """A hole that a version of a package has closed.

    Attributes:
        package: its name.
        closed_in: the first version without the hole.
        name: of the hole.
        cost: of leaving it.
    """

    package: str
    closed_in: tuple[int, int]
    name: str
    cost: str


HOLES = (
    KnownHole("Pillow", (10, 3), "CVE-2023-4863 and CVE-2024-28219", "a photo may run code"),
    KnownHole("torch", (2, 10), "CVE-2026-24747", "a file of weights may run code in training"),
)


def known_holes(installed: Mapping[str, str] | None = None) -> Iterator[Problem]:
    """Yields the known holes of packages as problems.

    Args:
        installed: version by name of package; by default what is installed here.
    """
    for hole in HOLES:
        found = _installed(hole.package) if installed is None else installed.get(hole.package)
        numbers = re.match(r"(\d+)\.(\d+)", found or "")
        if numbers and (int(numbers[1]), int(numbers[2])) < hole.closed_in:
            wanted = ".".join(map(str, hole.closed_in))
            what = f"{hole.package} {found} has a known hole ({hole.name})"
            yield Problem(what, hole.cost, f"pip install '{hole.package}>={wanted}'")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
