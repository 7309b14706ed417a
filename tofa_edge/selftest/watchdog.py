"""The process of a self-test, watched from outside: what it reported, and how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError
from tofa_edge.selftest.golden import Fault, Judgement
from tofa_edge.selftest.interpreter import Interpreter
from tofa_edge.selftest.memory import Allowance

PATIENCE_S = 60.0  # without progress; an engine's import alone takes seconds on a slow card
PATIENCE_VARIABLE = "TOFA_EDGE_PROBE_PATIENCE_S"  # of the environment: for slower machines
FIRST_TO_DIE = "1000"  # where memory runs out, the kernel ends the self-test, not the application
STANDARD_STREAMS = 3
POLL_MS = 20
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


@dataclass(frozen=True, slots=True)
class Watch:
    """How self-tests that run at the same time are started, watched and ended.

    Attributes:
        interpreter: starts them.
        bundle: whose golden cases they compute; None takes a small network of random weights.
        patience_s: without progress, until one counts as hanging.
        allowance: memory that all take together.
        cancelled: is set to end them all.
    """

    interpreter: Interpreter
    bundle: Bundle | None
    patience_s: float
    allowance: Allowance = field(default_factory=Allowance)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def reason_to_stop(self, pid: int, idle_s: float) -> Judgement | None:
        """Returns why a process that said nothing for a while has to end, or None."""
        excess = self.allowance.excess(pid)
        if excess is not None:
            return "out of memory", excess
        if idle_s > self.patience_s:
            return "hang", f"no answer within {self.patience_s:g} s"
        if self.cancelled.is_set():
            return "hang", "interrupted"
        return None


def watched(name: str, watch: Watch, start: int = 0) -> Ending:
    """Tests an engine in a process of its own and returns how that ended.

    The thread that calls this must not end before: the kernel would end the process with it.

    Args:
        name: of the engine.
        watch: what is shared with others.
        start: number of the first target.

    Raises:
        OSError: there is no process, or no file, to be had.
    """
    ending = Ending()
    with contextlib.ExitStack() as stack:
        ends = pipe_ends()
        reader = stack.enter_context(os.fdopen(ends[0], "rb", 0))
        writer = stack.enter_context(os.fdopen(ends[1], "wb", 0))
        arguments, passed = [name, "--start", str(start)], [writer.fileno()]
        arguments += ["--report", str(writer.fileno())]
        if watch.bundle is not None:  # the file that was opened, whatever its path means by now
            passed.append(stack.enter_context(_passable(watch.bundle.descriptor)))
            arguments += ["--bundle", str(watch.bundle.path), "--descriptor", str(passed[-1])]
            arguments += ["--digest", watch.bundle.digest]
        output = stack.enter_context(_scratch())
        process = stack.enter_context(_started(watch.interpreter, arguments, passed, output))
        stack.callback(watch.allowance.release, process.pid)
        writer.close()
        stopped = _follow(ending, process, reader.fileno(), watch)
        _conclude(ending, process.returncode, stopped, _tail(output), start)
    return ending


def patience_s() -> float:
    """Returns how long to wait for progress, as the environment or this module says.

    Raises:
        BackendError: the environment does not say a number of seconds.
    """
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


def pipe_ends() -> list[int]:
    """Returns a pipe's ends, for reading and for writing, in no standard stream's place."""
    return [_raised(end) for end in os.pipe()]


def _raised(descriptor: int) -> int:
    """Returns a descriptor that is not in the place of a standard stream that is closed."""
    if descriptor >= STANDARD_STREAMS:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STANDARD_STREAMS)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _passable(descriptor: int) -> Iterator[int]:
    """Yields a descriptor, or a copy where the child's standard streams would take its place."""
    if descriptor >= STANDARD_STREAMS:
        yield descriptor
        return
    with os.fdopen(_raised(os.dup(descriptor)), "rb", 0) as copy:
        yield copy.fileno()


@contextlib.contextmanager
def _started(
    interpreter: Interpreter, arguments: list[str], passed: list[int], output: IO[bytes] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the self-test, which inherits the descriptors `passed`, and ends it afterwards."""
    process = subprocess.Popen(
        [*interpreter.command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if output is None else output,
        stderr=subprocess.DEVNULL if output is None else output,
        env=interpreter.environment(),
        cwd="/",  # nothing there can stand in for a module
        pass_fds=passed,
        start_new_session=True,
    )
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(FIRST_TO_DIE)
    try:
        yield process
    finally:
        _end(process)


def _follow(
    ending: Ending, process: subprocess.Popen[bytes], reader: int, watch: Watch
) -> Judgement | None:
    """Reads the report to its end; returns why the process was stopped, or None."""
    pending, length, progress = b"", 0, time.monotonic()
    poll = select.poll()  # `select` itself takes no descriptor above 1023
    poll.register(reader, select.POLLIN)
    while length <= MAX_REPORT:
        if poll.poll(POLL_MS):
            chunk = os.read(reader, 65536)
            if not chunk:
                break
            length, progress = length + len(chunk), time.monotonic()
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                _take(ending, line)
        stopped = watch.reason_to_stop(process.pid, time.monotonic() - progress)
        if stopped is not None:
            _end(process)
            return stopped
    try:
        process.wait(watch.patience_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return "hang", f"it did not end within {watch.patience_s:g} s"
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
