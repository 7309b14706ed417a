"""How much of its time a thread waits for a core, as the kernel counts it."""

from __future__ import annotations

import threading
from pathlib import Path

SCHEDULED = Path("/proc/thread-self/schedstat")  # ns that it ran, and that it waited (sched-stats)
SPAN_S = 0.5
LEAST_RUN_NS = 1_000_000  # less says nothing


class Waiting:
    """The share of its time that the calling thread waited for a core, over half a second or more.

    Args:
        counts: the kernel's file.
    """

    def __init__(self, counts: Path = SCHEDULED) -> None:
        self._counts = counts
        self._from: tuple[int, float, int, int] | None = None  # thread, time, ran, waited
        self._share: float | None = None

    def share(self, now_s: float) -> float | None:
        """Returns what it last was, 0..1; None where not told, or not yet.

        Args:
            now_s: by a clock that never goes back.
        """
        thread = threading.get_native_id()
        before = self._from
        if before is not None and before[0] == thread and now_s - before[1] < SPAN_S:
            return self._share
        try:
            ran, waited = map(int, self._counts.read_text().split()[:2])
        except (OSError, ValueError):
            return None
        self._from = (thread, now_s, ran, waited)
        if before is not None and before[0] == thread:
            able = ran - before[2] + waited - before[3]
            self._share = (waited - before[3]) / able if able >= LEAST_RUN_NS else 0.0
        return self._share
