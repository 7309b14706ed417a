"""A call's own latency: what it takes without the time that other programs make it wait.

Best is the wall time less the time spent waiting for a core, which the kernel counts: every run
counts. Where it does not count, processor time of a call whose work is done by one thread; then the
runs in which no core was taken away; then the wall time as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.measurement.counters import Counters, Reading

Measure = Literal["wall", "less waiting", "thread time", "undisturbed runs"]

Count = TypeVar("Count", int, float)

LEAST_UNDISTURBED = 10  # runs
LEAST_WARM = 30  # runs
BRIEF = 0.02  # of a run, that it may wait
SAME_WORK = 0.95  # of the wall time: the thread does all the work
MARGIN = 1.1  # of the wall time: more is a clock too coarse, or a second thread
NEARLY_ALL = 0.98  # of the runs
READING_S = 30e-6  # that reading the counters may add to processor time


class TimedRun(NamedTuple):
    """One run: its wall time and what was counted meanwhile, in seconds.

    Attributes:
        wall_s: by the clock.
        thread_s: processor time of the calling thread.
        process_s: of all threads.
        switches: times that a core was taken from the calling thread; None where not told.
        sleeps: times that it gave up its core to wait for something else; None where not told.
        waited_s: the calling thread, for a core; None where not told.
        other_ran_s: of the other threads, the one that ran and waited longest.
        other_waited_s: the same one.
    """

    wall_s: float
    thread_s: float = 0.0
    process_s: float = 0.0
    switches: int | None = None
    sleeps: int | None = None
    waited_s: float | None = None
    other_ran_s: float = 0.0
    other_waited_s: float = 0.0


def timed_runs(
    run: Callable[[], object], count: int, clock: Callable[[], float], counters: Counters
) -> list[TimedRun]:
    """Returns `count` consecutive calls of `run`; what is counted is read outside of their time."""
    counters.list_threads()
    found = []
    for _ in range(count):
        before = counters.read()
        start = clock()
        run()
        wall = clock() - start
        found.append((wall, before, counters.read()))
    return [_between(*each) for each in found]


def own_seconds(runs: Sequence[TimedRun], stopped: bool = False) -> tuple[DoubleArray, Measure]:
    """Returns the own time of runs, in order, and how it was measured.

    Of "undisturbed runs" there are fewer than runs. A call on several threads is estimated: what
    its calling thread waited is subtracted, and of another's waiting as much as the calling thread
    slept meanwhile; the work of all threads remains, shared out evenly over the cores.

    Args:
        runs: of one call.
        stopped: a quota stopped the process meanwhile. That is no other program: it will again.
    """
    wall = np.array([run.wall_s for run in runs], np.float64)
    if stopped or not runs:
        return wall, "wall"
    waited = [run.waited_s for run in runs if run.waited_s is not None]
    if len(waited) == len(runs):
        own, all_waited = _less_waiting(runs, wall, np.array(waited)), np.array(waited)
        return _warm(own, all_waited, _column(runs, "other_waited_s")), "less waiting"
    awake = float(np.mean([run.sleeps == 0 for run in runs]))
    thread, process = _column(runs, "thread_s"), _column(runs, "process_s")
    for busy, does_all in ((thread, awake >= NEARLY_ALL), (process, False)):
        if (does_all or _share(busy, wall) >= SAME_WORK) and _never_exceeds(busy, wall):
            return np.minimum(busy, wall), "thread time"
    quiet = np.array([run.switches == 0 for run in runs])
    if quiet.sum() >= LEAST_UNDISTURBED:
        return wall[quiet], "undisturbed runs"
    return wall, "wall"


def _less_waiting(runs: Sequence[TimedRun], wall: DoubleArray, waited: DoubleArray) -> DoubleArray:
    thread = _column(runs, "thread_s")
    ran, other_waited = _column(runs, "other_ran_s"), _column(runs, "other_waited_s")
    slept = np.maximum(wall - thread - waited, 0.0)
    in_vain = np.minimum(np.minimum(slept, other_waited), wall - waited - ran)
    own = wall - waited - np.maximum(in_vain, 0.0)
    # more threads than cores wait for each other, which is their own doing
    work = np.maximum(thread, _column(runs, "process_s") / _usable_cores())
    return np.minimum(np.maximum(own, work), wall)


def _warm(own: DoubleArray, waited: DoubleArray, other_waited: DoubleArray) -> DoubleArray:
    """Returns the runs that found the caches as they left them, where these are enough.

    After a wait the caches hold what another program needs: short calls take twice as long, and
    the next one is slower, too. So runs count that did not wait, nor the one before; where they
    are too few, those that waited no longer than they worked; else all.
    """
    uninterrupted = np.maximum(waited, other_waited) <= BRIEF * own
    warm: NDArray[np.bool_] = uninterrupted & np.append(True, uninterrupted[:-1])
    if warm.sum() >= max(LEAST_WARM, len(own) / 4):
        return own[warm]
    warm = waited <= own  # more of them
    return own[warm] if warm.sum() >= max(LEAST_WARM, len(own) / 2) else own


def _share(busy: DoubleArray, wall: DoubleArray) -> float:
    """Returns how much of the wall time the quickest runs worked: of disturbed ones it is less."""
    return float(np.percentile(busy / np.maximum(wall, 1e-9), 90))


def _never_exceeds(busy: DoubleArray, wall: DoubleArray) -> bool:
    """Whether a clock of processor time is fine enough, and only one thread counts."""
    fits = (busy > 0) & (busy <= MARGIN * wall + READING_S)
    return float(np.mean(fits)) >= NEARLY_ALL


def _between(wall_s: float, before: Reading, after: Reading) -> TimedRun:
    pairs = zip(before.others, after.others, strict=True)
    others = [(new[0] - old[0], new[1] - old[1]) for old, new in pairs]
    return TimedRun(
        wall_s,
        after.thread_s - before.thread_s,
        after.process_s - before.process_s,
        _grown(before.switches, after.switches),
        _grown(before.sleeps, after.sleeps),
        _grown(before.waited_s, after.waited_s),
        *max(others, key=sum, default=(0.0, 0.0)),
    )


def _grown(before: Count | None, after: Count | None) -> Count | None:
    return None if before is None or after is None else after - before


def _column(runs: Sequence[TimedRun], name: str) -> DoubleArray:
    return np.array([getattr(run, name) for run in runs], np.float64)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
