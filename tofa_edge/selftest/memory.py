"""The memory that self-tests running at the same time may take together."""

from __future__ import annotations

import contextlib
import math
import re
import threading
from pathlib import Path

import psutil

from tofa_edge.device.machine import available_memory_bytes

SHARE = 0.8  # of what is available when the first of them starts
OWN_PAGES = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


class Allowance:
    """What a group of processes may take; where that is too much, the largest one has to go.

    Args:
        most_bytes: of all together; by default most of what is available now.
    """

    def __init__(self, most_bytes: float | None = None) -> None:
        self.most_bytes = available_bytes() if most_bytes is None else most_bytes
        self._taken: dict[int, int] = {}
        self._lock = threading.Lock()

    def excess(self, pid: int) -> str | None:
        """Looks at a process; returns why it has to end, or None."""
        taken = taken_bytes(pid)
        with self._lock:
            self._taken[pid] = taken
            total, largest = sum(self._taken.values()), max(self._taken.values())
        if total <= self.most_bytes or taken < largest:
            return None
        others = f" beside {(total - taken) / 1e6:.0f} MB of others" if total > taken else ""
        return (
            f"took {taken / 1e6:.0f} MB{others}, and {self.most_bytes / 1e6:.0f} MB could be spared"
        )

    def release(self, pid: int) -> None:
        """Forgets a process that ended."""
        with self._lock:
            self._taken.pop(pid, None)


def available_bytes() -> float:
    """Returns how many bytes self-tests may take; infinite where the machine does not say."""
    known = available_memory_bytes()
    return math.inf if known is None else SHARE * known


def taken_bytes(pid: int) -> int:
    """Returns what the process `pid` alone keeps in memory: not libraries, which others share."""
    with contextlib.suppress(OSError):
        found = OWN_PAGES.findall(Path(f"/proc/{pid}/status").read_bytes())
        if found:
            return 1024 * sum(map(int, found))
    with contextlib.suppress(psutil.Error, OSError):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
