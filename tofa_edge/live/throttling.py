"""Whether heat or power holds the processor back, looked at every five seconds, in a thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tofa_edge.device.files import Files
from tofa_edge.device.sensors import throttled

PAUSE_S = 5.0
STOPPING_S = 1.0


class ThrottleWatch:
    """Tells when throttling begins, changes and ends. Whoever starts it stops it.

    Args:
        tell: a method, called with what holds the processor back, in words; empty for nothing. The
            thread ends with its object.
        root: of the machine's files.
        pause_s: between two looks.
    """

    def __init__(
        self,
        tell: Callable[[tuple[str, ...]], None],
        root: Path = Path("/"),
        pause_s: float = PAUSE_S,
    ) -> None:
        self._tell: weakref.WeakMethod[Any] = weakref.WeakMethod(tell)
        self._files, self._pause_s = Files(root), pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tofa-edge-throttling", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and waits for it a second at most."""
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOPPING_S)

    def _run(self) -> None:
        before: tuple[str, ...] = ()
        while not self._stopped.wait(self._pause_s):
            now = throttled(self._files)[0] or ()
            tell = self._tell()
            if tell is None:
                return
            if now != before:
                tell(now)
            before = now
            del tell
