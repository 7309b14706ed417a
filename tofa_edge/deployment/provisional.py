"""Choices made while other programs kept the machine busy: served, and made again when it is quiet.

A choice is made again in a process of its own, at most once an hour, and only where the load is
clearly lower than it was; the next start takes what it decided.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tofa_edge.budget import Budget
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.trace import Trace
from tofa_edge.device.machine import state
from tofa_edge.measurement.validity import Snapshot, invalid_reasons, kind
from tofa_edge.selftest.interpreter import interpreter
from tofa_edge.serving.explanation import Measured
from tofa_edge.storage.plain import to_plain

log = logging.getLogger(__name__)

KINDS = ("background load", "stolen time", "throttled", "CPU quota")
CLEARLY_LOWER = 0.5  # of the load that there was
IDLE_CORES = 0.3  # of load are none
PAUSE_S = 3600.0
LOOK_S = 600.0
AGAIN = "tofa_edge.deployment.again"


@dataclass(frozen=True, slots=True)
class Provisional:
    """Why a choice is to be made again.

    Attributes:
        reason: in words; empty where it stands.
        cores: that other programs kept busy meanwhile.
    """

    reason: str = ""
    cores: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that another process can repeat."""

    bundle: str
    budget: Budget
    subnet: str | None = None
    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    seed: int = 0
    python: str | None = None


_attempts: dict[str, Callable[[], bool]] = {}  # to make choices of this process again, by their key
_lock = threading.Lock()


def judged(before: Snapshot, after: Snapshot, chosen: Measured) -> Provisional:
    """Returns whether a choice made between two looks at the machine is provisional."""
    reasons = [r for r in invalid_reasons(before, after) if kind(r) in KINDS]
    if chosen.latency.measure == "wall" and chosen.latency.flags:
        reasons += chosen.latency.flags
    others = 0.0
    if None not in (before.busy_s, after.busy_s, before.own_s, after.own_s):
        busy, own = after.busy_s - before.busy_s, after.own_s - before.own_s  # type: ignore[operator]
        others = max(0.0, busy - own) / max(after.at_s - before.at_s, 1e-3)
    return Provisional("; ".join(reasons), round(others, 2))


def note_disturbance(chosen: Measured, small: Measured, trace: Trace) -> None:
    """Tells what other programs add to the network chosen, and to a `small` one."""
    words = [
        f"{each.latency.disturbance_ms[0]:.2f} ms at p50 and {each.latency.disturbance_ms[1]:.2f} "
        f"ms at p95 to {name}, which takes {each.latency.p50_ms:.2f} ms by itself"
        for name, each in (("this network", chosen), ("the smallest", small))
    ]
    trace.note(f"other programs add {', and '.join(words)}")


def is_due(load: float, decided_s: float) -> bool:
    """Whether a provisional choice should be made again now.

    Args:
        load: cores that other programs kept busy when it was made.
        decided_s: when that was, or the last attempt, in seconds since 1970.
    """
    now = state().load_average
    quiet = now is not None and now <= max(CLEARLY_LOWER * load, IDLE_CORES)
    return quiet and not 0 <= time.time() - decided_s < PAUSE_S


def asked_of(request: Request) -> Asked:
    """Returns a request as another process can repeat it, without the frames it may have."""
    options, subnet = request.options, request.subnet
    return Asked(
        str(request.bundle.path.absolute()),
        request.budget,
        None if subnet is None else subnet.to_json(),
        options.backend,
        options.threads,
        options.precision,
        options.seed,
        options.python,
    )


def start_again(asked: Asked) -> None:
    """Starts a process that makes a choice again and keeps it; where none can start, none does."""
    starts = interpreter(asked.python)
    if starts is None or starts.command[-2:-1] != ("-m",):
        return  # a frozen application starts itself for self-tests alone
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            [*starts.command[:-1], AGAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=starts.environment(),
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(to_plain(asked)).encode())
        process.stdin.close()
        threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie
        log.info("the machine is quieter than when this was chosen: choosing again, in background")


def look_now_and_then(key: str, attempt: Callable[[], bool]) -> None:
    """Calls `attempt` every ten minutes until it returns True; of one `key` the last counts.

    All of them in one thread, which ends with this process.
    """
    with _lock:
        begin = not _attempts
        _attempts[key] = attempt
    if begin:
        threading.Thread(target=_look, name="tofa-edge-choose-again", daemon=True).start()


def _look() -> None:
    while True:
        time.sleep(LOOK_S)
        with _lock:
            waiting = dict(_attempts)
        for key, attempt in waiting.items():
            done = True
            with contextlib.suppress(Exception):
                done = attempt()
            with _lock:
                if done and _attempts.get(key) is attempt:
                    del _attempts[key]
                if not _attempts:
                    return


def low_priority() -> None:
    """Gives way to all other processes; own latency does not count what waiting takes."""
    with contextlib.suppress(OSError):
        os.nice(10)
