"""A trial: a new bundle is deployed and judged in a process of its own, beside the service.

The process has a limit of memory for itself and its children, and one of time. However it ends, the
device goes on with what it has.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.costs import costs
from tofa_edge.device.machine import available_memory_bytes
from tofa_edge.errors import InstallError
from tofa_edge.selftest.interpreter import Interpreter, interpreter
from tofa_edge.storage.files import printable
from tofa_edge.storage.plain import from_plain, to_plain
from tofa_edge.trust.policy import VARIABLE, policy_path

log = logging.getLogger(__name__)

PROCESS = "tofa_edge.fleet.trial_process"
POLL_MS = 200
SHARE = 0.8  # of the available memory, that a trial may take
MOST_REPORT = 2**20
MOST_REASON = 1000
FIRST_TO_DIE = "1000"


@dataclass(frozen=True, slots=True)
class TrialOrder:
    """What a trial has to do.

    Attributes:
        bundle: path of the new one.
        digest: that it must have.
        running: path of the active one; None where there is none.
        budget: that a network of the new one must keep.
        backend: engine; None for the best.
        threads: None for the best number.
        precision: None for the best.
        frames: paths of canary frames.
        gate: whether accuracy is judged.
        new_classes: whether other classes than those of the running bundle are wanted.
    """

    bundle: str
    digest: str
    running: str | None
    budget: Budget
    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    frames: tuple[str, ...] = ()
    gate: bool = True
    new_classes: bool = False


@dataclass(frozen=True, slots=True)
class TrialReport:
    """How a trial ended.

    Attributes:
        refusal: why the bundle is refused; empty where it is not.
        network: that was chosen and measured.
        notes: what was judged by what.
    """

    refusal: str = ""
    network: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What a trial may take.

    Attributes:
        memory_bytes: with its children; None for most of what is available when it begins.
        seconds: by the clock.
    """

    memory_bytes: int | None = None
    seconds: float = 1800.0


def needed_bytes(bundle: Bundle) -> int:
    """Returns how much memory a deployment of a bundle takes at most, beside its engines."""
    counts = bundle.calibration_count, bundle.check_count
    return costs(bundle.space, bundle.golden_subnets, bundle.member_sizes, *counts).peak_bytes


def run_trial(order: TrialOrder, limits: TrialLimits) -> TrialReport:
    """Runs a trial, and returns how it ended; one that ends badly is a refusal.

    Args:
        order: what to do.
        limits: what it may take.

    Raises:
        InstallError: no process can be started here.
    """
    starts = interpreter()
    if starts is None or starts.command[-2:-1] != ("-m",):
        raise InstallError("there is no Python to try the bundle with: set TOFA_EDGE_PYTHON to one")
    available = available_memory_bytes()
    most = limits.memory_bytes or (None if available is None else int(SHARE * available))
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as writer:
        try:
            process = subprocess.Popen(
                [*starts.command[:-1], PROCESS, "--report", str(writer.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(starts),
                cwd="/",
                pass_fds=[writer.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            raise InstallError(f"the trial cannot be started: {error.strerror}") from error
        writer.close()
        try:
            return _followed(process, reader.fileno(), order, most, limits.seconds)
        finally:
            _end(process)


def _environment(starts: Interpreter) -> dict[str, str]:
    """Returns the variables of a trial, which begins in another folder than this process."""
    variables, policy = starts.environment(tests_engines=True), policy_path()
    if policy is not None:
        variables[VARIABLE] = str(policy.absolute())
    return variables


def _followed(
    process: subprocess.Popen[bytes],
    reader: int,
    order: TrialOrder,
    most_bytes: int | None,
    seconds: float,
) -> TrialReport:
    """Reads the report of a trial; a limit or a crash is a refusal."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(FIRST_TO_DIE)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(to_plain(order)).encode())
        process.stdin.close()
    content, until = b"", time.monotonic() + seconds
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while len(content) <= MOST_REPORT:
        if poll.poll(POLL_MS):
            part = os.read(reader, 65536)
            if not part:
                break
            content += part
        if time.monotonic() > until:
            return TrialReport(f"its trial took more than {seconds:g} s")
        taken = _tree_bytes(process.pid)
        if most_bytes is not None and taken > most_bytes:
            return TrialReport(
                f"its trial took {taken / 1e6:.0f} MB of memory, and {most_bytes / 1e6:.0f} MB "
                "were to spare beside the service"
            )
    return _read(content, process)


def _read(content: bytes, process: subprocess.Popen[bytes]) -> TrialReport:
    with contextlib.suppress(ValueError, RecursionError):
        report = from_plain(TrialReport, json.loads(content))
        if report.refusal or report.network:
            return report
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(POLL_MS / 1000)
    code = process.poll()
    how = "without a report" if code is None or code >= 0 else _signal_name(-code)
    return TrialReport(f"its trial ended {how}: an engine crashed, or memory ran out")


def _signal_name(number: int) -> str:
    try:
        return f"by {signal.Signals(number).name}"
    except ValueError:
        return f"by signal {number}"


def _tree_bytes(pid: int) -> int:
    """Returns what a process and its children hold in memory."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += int(each.memory_info().rss)
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def short(reason: object) -> str:
    """Returns a `reason` as a report can hold it."""
    return printable(str(reason), MOST_REASON)
