"""What the machine counts of this process: processor time, and time that its threads waited.

The kernel counts for each thread how long it could have run and had to wait for a core: the second
number of `/proc/…/schedstat`, in ns (its documentation, scheduler/sched-stats). Reading costs about
1 µs a thread, as the files stay open. Kernels without that count, sandboxes and other systems leave
processor time, and whether the scheduler took a core away.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from tofa_edge.device.files import Files
from tofa_edge.device.sources import control_groups

TICKS = 100.0  # of a second, in /proc (USER_HZ, the same on every machine that Linux runs on)
MOST_THREADS = 16  # that are read; the youngest: an engine's
CALLER = "/proc/thread-self/schedstat"
TASKS = "/proc/self/task"


class Reading(NamedTuple):
    """Counts up to now, in seconds; those of other threads in the same order until listed again.

    Attributes:
        thread_s: processor time of the calling thread.
        process_s: of all threads.
        switches: times that a core was taken from the calling thread; None where not told.
        sleeps: times that it gave up its core to wait for something else; None where not told.
        waited_s: the calling thread, for a core; None where not told.
        others: of each other thread what it ran and what it waited.
    """

    thread_s: float
    process_s: float
    switches: int | None = None
    sleeps: int | None = None
    waited_s: float | None = None
    others: tuple[tuple[float, float], ...] = ()


class Counters(Protocol):
    """Reads counts for the thread that opened it."""

    def list_threads(self) -> None:
        """Looks for threads that began or ended; never between two readings of one run."""

    def read(self) -> Reading:
        """Returns the counts now."""

    def stops(self) -> int | None:
        """Returns how often a quota stopped this process; None where not told."""

    def stolen_s(self) -> float | None:
        """Returns the seconds that the host of a virtual machine took; None where not told."""


OpenCounters = Callable[[], AbstractContextManager[Counters]]


@contextlib.contextmanager
def machine_counters(root: Path = Path("/")) -> Iterator[Counters]:
    """Yields the counters of this process for the calling thread.

    Args:
        root: of the files that tell of quotas and of stolen time.
    """
    counters = _MachineCounters(Files(root))
    try:
        yield counters
    finally:
        counters.close()


class _MachineCounters:
    """Descriptors of the threads' files, open from the first listing on."""

    def __init__(self, files: Files) -> None:
        self._files, self._switches = files, _switches_reader()
        self._caller = _counting(CALLER)
        self._others: dict[str, int] = {}

    def list_threads(self) -> None:
        if self._caller is None:
            return
        own = str(threading.get_native_id())
        with contextlib.suppress(OSError):
            names = {task.name for task in Path(TASKS).iterdir()} - {own}
            names = set(sorted(names, key=int)[-MOST_THREADS:])
            for name in set(self._others) - names:
                os.close(self._others.pop(name))
            for name in names - set(self._others):
                file = _opened(f"{TASKS}/{name}/schedstat")
                self._others |= {} if file is None else {name: file}

    def read(self) -> Reading:
        thread, process, waited = time.thread_time(), time.process_time(), None
        if self._caller is None:
            return Reading(thread, process, *self._switches())
        others = tuple(_counts(file) for file in self._others.values())
        waited = _counts(self._caller)[1]
        return Reading(thread, process, waited_s=waited, others=others)

    def stops(self) -> int | None:
        return quota_stops(self._files)

    def stolen_s(self) -> float | None:
        return processor_counts(self._files)[2]

    def close(self) -> None:
        for file in (self._caller, *self._others.values()):
            if file is not None:
                os.close(file)


def processor_counts(files: Files) -> tuple[int | None, float | None, float | None]:
    """Returns the cores, and the seconds that all were busy and that were stolen (proc(5))."""
    text = files.text("proc/stat") or ""
    total = re.match(r"cpu +([0-9 ]{1,300})$", text, re.MULTILINE)
    cores = len(re.findall(r"^cpu[0-9]+ ", text, re.MULTILINE)) or None
    counts = [int(word) for word in total[1].split()] if total else []
    if len(counts) < 4:
        return cores, None, None
    user, nice, system, _, _, *rest = [*counts, 0, 0][: max(len(counts), 8)]
    interrupts, stolen = sum(rest[:2]), rest[2] if len(rest) > 2 else 0
    return cores, (user + nice + system + interrupts) / TICKS, stolen / TICKS


def quota_stops(files: Files) -> int | None:
    """Returns how often a quota of its control groups stopped this process; None for no quota."""
    counts = []
    for folder in dict.fromkeys(control_groups(files, "cpu")):
        text = files.text(f"{folder}/cpu.stat") or ""
        count = re.search(r"^nr_throttled ([0-9]{1,18})$", text, re.MULTILINE)
        counts += [int(count[1])] if count else []
    return sum(counts) if counts else None


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):  # another system has neither the file nor the flag
        return None


def _counting(path: str) -> int | None:
    """Returns a descriptor of a thread's file; None where the kernel does not count: "0 0 0"."""
    file = _opened(path)
    if file is None:
        return None
    with contextlib.suppress(OSError):
        words = os.pread(file, 64, 0).split()
        if len(words) == 3 and any(word.strip(b"0") for word in words):
            return file
    os.close(file)
    return None


def _counts(file: int) -> tuple[float, float]:
    """Returns the seconds that a thread ran, as of the last tick, and waited; 0 if it ended."""
    try:
        ran, waited, *_ = os.pread(file, 64, 0).split()
        return int(ran) * 1e-9, int(waited) * 1e-9
    except (OSError, ValueError):
        return 0.0, 0.0


def _switches_reader() -> Callable[[], tuple[int | None, int | None]]:
    """Returns what reads how often the calling thread lost its core, and how often it slept."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:  # not Linux
        return lambda: (None, None)

    def read() -> tuple[int, int]:
        usage = getrusage(RUSAGE_THREAD)
        return usage.ru_nivcsw, usage.ru_nvcsw

    return read
