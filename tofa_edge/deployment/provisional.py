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
from tofa_edge.errors import BackendError
from tofa_edge.measurement.validity import Snapshot, others_cores
from tofa_edge.selftest.interpreter import Interpreter, interpreter
from tofa_edge.serving.explanation import Measured
from tofa_edge.storage.plain import to_plain

log = logging.getLogger(__name__)

CLEARLY_LOWER = 0.5  # of the load that there was
IDLE_CORES = 0.3  # that other programs use are no load
PAUSE_S = 3600.0
LOOK_S = 600.0
THREAD = "tofa-edge-choose-again"
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
    """A request that another process can repeat, to replace what is remembered under a key.

    It is not replaced where it was decided, or tried, at another time than `decided_s`.
    """

    key: str
    decided_s: float
    bundle: str
    budget: Budget
    subnet: str | None = None
    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    seed: int = 0
    python: str | None = None


_attempts: dict[str, Callable[[], bool]] = {}  # to make choices of this process again, by their key
_lookers: list[threading.Thread] = []  # one at most; none after a fork is alive
_lock = threading.Lock()


def judged(before: Snapshot, after: Snapshot, budget: Budget) -> Provisional:
    """Returns whether a choice made between two looks at the machine is provisional.

    Not where the `budget` is of observed latency: the load is what it asks to include.
    """
    others = others_cores(before, after) or 0.0
    if others <= IDLE_CORES or budget.is_observed:
        return Provisional(cores=round(others, 2))
    return Provisional(f"other programs kept {others:.1f} cores busy", round(others, 2))


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


def asked_of(request: Request, key: str, decided_s: float = 0.0) -> Asked:
    """Returns a request as another process can repeat it, without the frames it may have."""
    options, subnet = request.options, request.subnet
    return Asked(
        key,
        decided_s,
        str(request.bundle.path.absolute()),
        request.budget,
        None if subnet is None else subnet.to_json(),
        options.backend,
        options.threads,
        options.precision,
        options.seed,
        options.python,
    )


def starter(python: str | None) -> Interpreter | None:
    """Returns what can make a choice again: a frozen application starts for self-tests alone.

    `python` is that of `DeployOptions`. None where nothing can.
    """
    with contextlib.suppress(BackendError, OSError):
        found = interpreter(python)
        return found if found is not None and found.command[-2:-1] == ("-m",) else None
    return None


def start_again(asked: Asked) -> None:
    """Starts a process that makes a choice again and keeps it; where none can start, none does."""
    starts = starter(asked.python)
    if starts is None:
        return
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            [*starts.command[:-1], AGAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=starts.environment(tests_engines=True),
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
        _attempts[key] = attempt
        if not any(thread.is_alive() for thread in _lookers):
            _lookers[:] = [threading.Thread(target=_look, name=THREAD, daemon=True)]
            _lookers[0].start()


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
                    _lookers.clear()
                    return


def low_priority() -> None:
    """Gives way to all other processes; own latency does not count what waiting takes."""
    with contextlib.suppress(OSError):
        os.nice(10)
