"""The process of a self-test, watched from outside: what it reported, and how it ended."""

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil

from tofa_edge.device.machine import fingerprint, state
from tofa_edge.errors import BackendError
from tofa_edge.selftest.golden import Fault, Judgement

PATIENCE_S = 60.0  # without progress; an engine's import alone takes seconds on a slow card
PATIENCE_VARIABLE = "TOFA_EDGE_PROBE_PATIENCE_S"  # of the environment: for slower machines
MEMORY_SHARE = 0.8  # of what is available when it starts
FIRST_TO_DIE = "1000"  # where memory runs out, the kernel ends the self-test, not the application
STANDARD_STREAMS = 3
POLL_S = 0.02
TAIL = 400  # characters of what the process wrote last
MAX_REPORT = 2**20


@dataclass
class Ending:
    """What a self-test reported, and how its process ended."""

    targets: list[dict[str, Any]] = field(default_factory=list)  # their fields
    # by number of the target; None is good
    judgements: dict[int, Judgement | None] = field(default_factory=dict)
    step: str = "start"  # that was taken last
    unreadable: str = ""  # what is wrong with the bundle, which is no engine's fault
    fault: Fault | None = None  # of the process; None where its report is complete
    reason: str = ""  # of the fault


def watched(
    name: str,
    bundle: Path | None = None,
    start: int = 0,
    cancelled: threading.Event | None = None,
) -> Ending:
    """Tests an engine in a process of its own and returns how that ended."""
    patience_s, memory_bytes = _patience_s(), _available_bytes()
    reader, writer = _pipe()
    arguments = [name, "--report", str(writer), "--start", str(start)]
    if bundle is not None:
        arguments += ["--bundle", str(Path(bundle).resolve())]
    ending = Ending()
    with (
        os.fdopen(reader, "rb", 0),
        os.fdopen(writer, "wb", 0) as child_end,
        _scratch() as output,
        _started(arguments, writer, output) as process,
    ):
        child_end.close()
        stop = partial(_reason_to_stop, process.pid, patience_s, memory_bytes, cancelled)
        stopped = _follow(ending, process, reader, patience_s, stop)
        _conclude(ending, process.returncode, stopped, _tail(output), start)
    return ending


def _patience_s() -> float:
    text = os.environ.get(PATIENCE_VARIABLE, "").strip()
    if not text:
        return PATIENCE_S
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise BackendError(
        f"wanted a positive number of seconds in {PATIENCE_VARIABLE}, got {text!r}: correct or "
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
    arguments: list[str], writer: int, output: IO[bytes] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the self-test with this process's import path, and ends it afterwards."""
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    process = subprocess.Popen(
        [sys.executable, "-m", "tofa_edge.selftest.child", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if output is None else output,
        stderr=subprocess.DEVNULL if output is None else output,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
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


def _follow(
    ending: Ending,
    process: subprocess.Popen[bytes],
    reader: int,
    patience_s: float,
    stop: Callable[[float], Judgement | None],
) -> Judgement | None:
    """Reads the report to its end; returns why the process was stopped, or None."""
    pending, length, progress = b"", 0, time.monotonic()
    while length <= MAX_REPORT:
        if select.select([reader], [], [], POLL_S)[0]:
            chunk = os.read(reader, 65536)
            if not chunk:
                break
            length, progress = length + len(chunk), time.monotonic()
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                _take(ending, line)
        stopped = stop(time.monotonic() - progress)
        if stopped is not None:
            _end(process)
            return stopped
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return "hang", f"it did not end within {patience_s:g} s"
    return None


def _reason_to_stop(
    pid: int,
    patience_s: float,
    memory_bytes: float,
    cancelled: threading.Event | None,
    idle_s: float,
) -> Judgement | None:
    taken = _resident_bytes(pid)
    if taken > memory_bytes:
        limit = f"{memory_bytes / 1e6:.0f} MB"
        return "out of memory", f"took {taken / 1e6:.0f} MB, and {limit} could be spared"
    if idle_s > patience_s:
        return "hang", f"no answer within {patience_s:g} s"
    if cancelled is not None and cancelled.is_set():
        return "hang", "interrupted"
    return None


def _take(ending: Ending, line: bytes) -> None:
    """Adds a line of the report; skips what an engine wrote there by mistake."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        fields: Mapping[str, Any] = json.loads(line)
        if "step" in fields:
            ending.step = str(fields["step"])
        if "unreadable" in fields:
            ending.unreadable = str(fields["unreadable"])
        if "targets" in fields:
            ending.targets = list(fields["targets"])
        if "number" in fields:
            judgement = fields["judgement"]
            ending.judgements[int(fields["number"])] = judgement and tuple(judgement)


def _conclude(
    ending: Ending, code: int | None, stopped: Judgement | None, tail: str, start: int
) -> None:
    output = f"; its last output: {tail}" if tail else ""
    if stopped is not None:
        ending.fault, reason = stopped
    elif code == -signal.SIGKILL:
        ending.fault, reason = "out of memory", "killed by the system, most likely for memory"
    elif code:
        ending.fault = "crash"
        reason = f"exit code {code}" if code > 0 else _signal_name(-code)
    elif not ending.unreadable and len(ending.judgements) < len(ending.targets) - start:
        ending.fault, reason = "crash", "ended in silence"
    else:
        return
    crashed = code and code != -signal.SIGKILL and stopped is None
    ending.reason = f"{reason} (step: {ending.step}){output if crashed else ''}"


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


def _tail(output: IO[bytes] | None) -> str:
    """Returns the last line that was printed."""
    if output is None:
        return ""
    output.seek(max(0, output.seek(0, os.SEEK_END) - 4 * TAIL))
    lines = output.read().decode(errors="replace").splitlines()
    return next((line.strip()[:TAIL] for line in reversed(lines) if line.strip()), "")
