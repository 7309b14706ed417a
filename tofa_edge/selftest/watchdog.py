"""A probe's process, watched from outside: what it reported, and how it ended."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from tofa_edge.device.machine import fingerprint, state
from tofa_edge.errors import BackendError
from tofa_edge.selftest.golden import Fault, Judgement

PATIENCE_S = 60.0  # without a step forward; an engine's import alone takes seconds on a slow card
PATIENCE_VARIABLE = (
    "TOFA_EDGE_PROBE_PATIENCE_S"  # of the environment: for machines slower than that
)
MEMORY_SHARE = 0.8  # of what is available when it starts
FIRST_TO_DIE = "1000"  # where memory runs out, the kernel ends the probe and not the application
STANDARD_STREAMS = 3
LOOK_S = 0.02
TAIL = 400  # characters of what the process wrote last
MOST_REPORTED = 2**20


@dataclass
class Ending:
    """What a probe reported, and how it ended.

    Attributes:
        targets: fields of each target, as far as reported.
        judgements: by number of the target; None is good.
        step: that was taken last.
        unreadable: what is wrong with the bundle, of which no engine is guilty.
        fault: of the process itself; None where it ended by itself, its report complete.
        reason: of the fault.
    """

    targets: list[dict[str, Any]] = field(default_factory=list)
    judgements: dict[int, Judgement | None] = field(default_factory=dict)
    step: str = "start"
    unreadable: str = ""
    fault: Fault | None = None
    reason: str = ""


def watched(
    name: str,
    bundle: Path | None = None,
    start: int = 0,
    patience_s: float | None = None,
    memory_bytes: float | None = None,
    cancelled: threading.Event | None = None,
) -> Ending:
    """Tries an engine in a process of its own and returns how that ended."""
    patience_s = patience_s or _patience_s()
    memory_bytes = memory_bytes or _available_bytes()
    reader, writer = _pipe()
    arguments = [name, "--report", str(writer), "--start", str(start)]
    if bundle is not None:
        arguments += ["--bundle", str(Path(bundle).resolve())]
    ending = Ending()
    try:
        with _scratch() as written, _started(arguments, writer, written) as process:
            os.close(writer)
            writer = -1
            watch = _Watch(process, reader, patience_s, memory_bytes, cancelled)
            stopped = watch.follow(ending)
            _conclude(ending, process.returncode, stopped, _tail(written), start)
    finally:
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)
    return ending


def _patience_s() -> float:
    said = os.environ.get(PATIENCE_VARIABLE, "").strip()
    if not said:
        return PATIENCE_S
    with contextlib.suppress(ValueError):
        seconds = float(said)
        if 0 < seconds < math.inf:
            return seconds
    raise BackendError(
        f"wanted a positive number of seconds in {PATIENCE_VARIABLE}, got {said!r}: correct or "
        "unset it"
    )


def _pipe() -> tuple[int, int]:
    """Returns a pipe's ends, none of them in the place of a standard stream that is closed."""
    import fcntl

    ends = list(os.pipe())
    for number, end in enumerate(ends):
        if end < STANDARD_STREAMS:
            ends[number] = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, STANDARD_STREAMS)
            os.close(end)
    return ends[0], ends[1]


@contextlib.contextmanager
def _started(
    arguments: list[str], writer: int, written: IO[bytes] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the probe with this process's import path, and leaves nothing of it behind."""
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    output = subprocess.DEVNULL if written is None else written
    process = subprocess.Popen(
        [sys.executable, "-m", "tofa_edge.selftest.child", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        cwd="/",  # nothing there can stand in for a module
        pass_fds=(writer,),
        start_new_session=True,
    )
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(FIRST_TO_DIE)
    try:
        yield process
    finally:
        _end(process)


@dataclass(frozen=True, slots=True)
class _Watch:
    """A process, the end of its pipe, and what it may take."""

    process: subprocess.Popen[bytes]
    reader: int
    patience_s: float
    memory_bytes: float
    cancelled: threading.Event | None

    def follow(self, ending: Ending) -> Judgement | None:
        """Reads the report to its end; returns why the process was stopped, or None."""
        pending, reported, moved = b"", 0, time.monotonic()
        while reported <= MOST_REPORTED:
            if select.select([self.reader], [], [], LOOK_S)[0]:
                chunk = os.read(self.reader, 65536)
                if not chunk:
                    break
                reported, moved = reported + len(chunk), time.monotonic()
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    _take(ending, line)
            stopped = self._too_much(time.monotonic() - moved)
            if stopped is not None:
                _end(self.process)
                return stopped
        try:
            self.process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            _end(self.process)
            return "hang", f"it did not end within {self.patience_s:g} s"
        return None

    def _too_much(self, idle_s: float) -> Judgement | None:
        taken = _resident_bytes(self.process.pid)
        if taken > self.memory_bytes:
            limit = f"{self.memory_bytes / 1e6:.0f} MB"
            return "out of memory", f"took {taken / 1e6:.0f} MB, and {limit} could be spared"
        if idle_s > self.patience_s:
            return "hang", f"no answer within {self.patience_s:g} s"
        if self.cancelled is not None and self.cancelled.is_set():
            return "hang", "interrupted"
        return None


def _take(ending: Ending, line: bytes) -> None:
    """Adds a line of the report; what an engine wrote there by mistake is passed over."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        said: Mapping[str, Any] = json.loads(line)
        if "step" in said:
            ending.step = str(said["step"])
        if "unreadable" in said:
            ending.unreadable = str(said["unreadable"])
        if "targets" in said:
            ending.targets = list(said["targets"])
        if "number" in said:
            judgement = said["judgement"]
            ending.judgements[int(said["number"])] = judgement and tuple(judgement)


def _conclude(
    ending: Ending, code: int | None, stopped: Judgement | None, tail: str, start: int
) -> None:
    if stopped is not None:
        ending.fault, reason = stopped
        ending.reason = f"{reason} (step: {ending.step})"
    elif code:
        ending.fault = "crash"
        said = f"; it said: {tail}" if tail else ""
        if code > 0:
            ending.reason = f"exit code {code} (step: {ending.step}){said}"
        elif code == -signal.SIGKILL:
            ending.fault = "out of memory"
            ending.reason = f"killed by the system, most likely for memory (step: {ending.step})"
        else:
            ending.reason = f"{_signal_name(-code)} (step: {ending.step}){said}"
    elif not ending.unreadable and len(ending.judgements) < len(ending.targets) - start:
        ending.fault, ending.reason = "crash", f"ended in silence (step: {ending.step})"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(psutil.Error, OSError):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _available_bytes() -> float:
    known = (state().available_memory_bytes, fingerprint().memory_limit_bytes)
    return MEMORY_SHARE * min((value for value in known if value is not None), default=math.inf)


@contextlib.contextmanager
def _scratch() -> Iterator[IO[bytes] | None]:
    """Yields a file for what the process prints, None where there is no room for one."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:
        yield None
        return
    with file:
        yield file


def _tail(written: IO[bytes] | None) -> str:
    if written is None:
        return ""
    size = written.seek(0, os.SEEK_END)
    written.seek(max(0, size - 4 * TAIL))
    lines = [line.strip() for line in written.read().decode(errors="replace").splitlines()]
    said = [line for line in lines if line]
    return said[-1][:TAIL] if said else ""
