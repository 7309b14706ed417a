"""The process that chooses while another network serves: started, read, and ended from here.

One thread owns the process. It starts it, reads its answers and waits for its end; `stop` ends the
process, and so the thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import IO

from tofa_edge.live.order import Answer, Order, received
from tofa_edge.selftest.interpreter import Interpreter
from tofa_edge.selftest.watchdog import pipe_ends
from tofa_edge.storage.plain import to_plain

CHILD = "tofa_edge.live.child"
STOPPING_S = 5.0  # that `stop` waits for an engine that is just loading a network


class Choosing:
    """A process that chooses networks. Whoever starts it stops it.

    Args:
        order: what it is to choose.
        starts: this Python.
        take: called with every answer and the engine's file, in the thread of this.
        failed: called with the reason where the process ends without having answered.
    """

    def __init__(
        self,
        order: Order,
        starts: Interpreter,
        take: Callable[[Answer, bytes], None],
        failed: Callable[[str], None],
    ) -> None:
        self._order, self._starts, self._take, self._failed = order, starts, take, failed
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="tofa-edge-choosing", daemon=True)

    def start(self) -> None:
        """Starts thread and process."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the process, and waits for the thread, 5 seconds at most. Nothing if it ended."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _kill(self._process)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOPPING_S)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until everything is chosen, `seconds` at most; returns whether it is."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        answered, reason = 0, ""
        try:
            with contextlib.ExitStack() as stack:
                reader = self._started(stack)
                for answer, artefact in received(reader) if reader is not None else ():
                    answered += 1
                    self._take(answer, artefact)
        except (OSError, ValueError) as error:
            reason = str(error)
        if not answered and not self._stopped:
            code = self._process.returncode if self._process is not None else None
            self._failed(reason or f"the process that chooses ended with exit code {code}")

    def _started(self, stack: contextlib.ExitStack) -> IO[bytes] | None:
        """Starts the process; returns where its answers come from, None where it is stopped."""
        ends = pipe_ends()
        reader = stack.enter_context(os.fdopen(ends[0], "rb"))
        writer = stack.enter_context(os.fdopen(ends[1], "wb", 0))
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                [*self._starts.command[:-1], CHILD, str(writer.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._starts.environment(tests_engines=True),
                cwd="/",
                pass_fds=[writer.fileno()],
                start_new_session=True,
            )
            self._process = process
        stack.callback(_ended, process)
        writer.close()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(to_plain(self._order)).encode())
        return reader


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process whose answers were read to the end; kills it where they were not."""
    try:
        process.wait(STOPPING_S)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # else its number may be another's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
