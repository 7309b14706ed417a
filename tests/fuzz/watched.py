"""Runs work in a forked process, under a limit of memory for its whole tree and a clock.

A fork needs no imports, so a case costs what it does. The process gets folders of its own for home,
cache and temporary files, and what is left in them, and of its children, is reported.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psutil

POLL_S = 0.03
WHERE = signal.SIGUSR1  # the process prints where it is, before it is ended over a limit
GRACE_S = 2.0  # that children may take to end after their parent
FOLDERS = ("home", "tmp", "cwd", "cache")
LOCK = "tofa-edge-measuring.lock"  # stays, so that all who measure share it
OUTPUT_TAIL = 2000

Work = Callable[[], dict[str, Any]]


@dataclass
class Ending:
    """How work ended.

    Attributes:
        report: what it returned; None where it did not come to that.
        cause: "" or why there is no report: "over memory", "over time", "other exception", "crash".
        output: the end of what it printed.
        seconds: that it took.
        peak_bytes: that its tree held at most.
        left: files in its folders, but for the cache, and processes that did not end.
    """

    report: dict[str, Any] | None = None
    cause: str = ""
    output: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    left: list[str] = field(default_factory=list)


def watched(work: Work, scratch: Path, most_bytes: float, most_seconds: float) -> Ending:
    """Returns how `work` ended in a process of its own; ends its whole tree over a limit.

    Args:
        work: returns what JSON can hold.
        scratch: an empty folder.
        most_bytes: of memory that is resident, summed over the tree; pages that a fork shares with
            its parent count, too.
        most_seconds: of wall time.
    """
    for name in FOLDERS:
        (scratch / name).mkdir()
    begun = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads that a fork would lose
        pid = os.fork()
    if pid == 0:
        _run(work, scratch)
    ending, tree, status = Ending(), {pid: psutil.Process(pid)}, None
    while status is None:
        time.sleep(POLL_S)
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = code
            break
        ending.peak_bytes = max(ending.peak_bytes, _resident_bytes(tree))
        ending.seconds = time.monotonic() - begun
        if ending.peak_bytes > most_bytes:
            ending.cause = "over memory"
        elif ending.seconds > most_seconds:
            ending.cause = "over time"
        if ending.cause:
            os.kill(pid, WHERE)
            time.sleep(10 * POLL_S)
            _kill(tree.values())
            _, status = os.waitpid(pid, 0)
    _conclude(ending, scratch, status, [item for key, item in tree.items() if key != pid])
    return ending


def _conclude(ending: Ending, scratch: Path, status: int, children: list[psutil.Process]) -> None:
    whole = (scratch / "output").read_bytes().decode(errors="replace")
    _, innermost, where = whole.rpartition("(most recent call first):")
    output = where[:OUTPUT_TAIL] if ending.cause and innermost else whole[-OUTPUT_TAIL:]
    ending.output = output
    alive = still_alive(children, 0.0 if ending.cause else GRACE_S)
    if alive:
        ending.left += [f"process {process.pid}" for process in alive if not ending.cause]
        _kill(alive)
    if ending.cause:
        return
    with contextlib.suppress(OSError, ValueError):
        ending.report = json.loads((scratch / "report").read_text())
    ending.left += [
        f"{name}/{path.name}"
        for name in FOLDERS[:-1]
        for path in sorted((scratch / name).iterdir())
        if path.name != LOCK
    ]
    if ending.report is None:
        code = os.waitstatus_to_exitcode(status)
        ending.cause = "other exception" if code == 1 and "Traceback" in output else "crash"
        ending.output = f"exit code {code}: {output}"


def _run(work: Work, scratch: Path) -> NoReturn:
    """Does the work in the forked process, and ends that without anything of its parent's."""
    code = 1
    try:
        os.setsid()
        output = os.open(scratch / "output", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1, errors="replace")
        home, temporary, cwd, cache = (str(scratch / name) for name in FOLDERS)
        os.environ.update(HOME=home, TMPDIR=temporary, XDG_CACHE_HOME=cache)
        tempfile.tempdir = None
        faulthandler.register(WHERE, file=2, all_threads=False)
        os.chdir(cwd)
        (scratch / "report").write_text(json.dumps(work()))
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _resident_bytes(tree: dict[int, psutil.Process]) -> int:
    """Returns what a tree holds; adds the children that are new to it."""
    (root, *_) = tree.values()
    with contextlib.suppress(psutil.Error):
        for child in root.children(recursive=True):
            tree.setdefault(child.pid, child)
    total = 0
    for process in tree.values():
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def still_alive(processes: Iterable[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Returns which processes still run after so many seconds; sooner where none does."""
    until = time.monotonic() + within_s
    while True:
        alive = [process for process in processes if _runs(process)]
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(POLL_S)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
