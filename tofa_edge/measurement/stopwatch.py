"""Latency as measured: warm-up, then runs until there are enough, beside a fixed reference.

A clock that drifts, a governor that ramps, another program that wakes up: all of them slow every
network alike. So a `Stopwatch` runs one fixed small network between the runs of the one it times.
What the reference lost against its best is what the machine lost, not the network.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

Run = Callable[[], object]

LEAST_RUNS, MOST_RUNS = 30, 200
SECONDS = 0.5
WARM_UP_RUNS = 5
BLOCK = 6  # timed runs between two visits of the reference, where few are made
VISIT = 5  # its runs then: the first ones fill the caches again, the quicker of the last two counts
SLOWED = 1.15  # the reference over its best
UNSTEADY = 0.05  # relative standard error of the median
LEAST_ERROR = 0.005  # of the median: what the clock and the caches leave at best
AGAIN = 2


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of `count` runs, in milliseconds, and how far they can be trusted.

    Attributes:
        p50_ms: the median.
        p90_ms: nine of ten runs were faster.
        p95_ms: 95 of 100.
        p99_ms: 99 of 100.
        count: of runs.
        relative_error: standard error of the median, over the median.
        slowdown: of the reference meanwhile over its best, 1 on a steady machine.
        flags: what makes it doubtful, in words; none is good.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    count: int
    relative_error: float = 0.0
    slowdown: float = 1.0
    flags: tuple[str, ...] = ()

    def percentile_ms(self, percentile: int) -> float:
        """Returns the median where `percentile` is 50, else the 95th percentile."""
        return self.p50_ms if percentile == 50 else self.p95_ms

    @property
    def steady_ms(self) -> float:
        """The median as it would be on the machine at its best: corrected where it was slower."""
        return self.p50_ms / self.slowdown if self.slowdown > SLOWED else self.p50_ms

    def __str__(self) -> str:
        doubt = "".join(f", {flag}" for flag in self.flags)
        return f"p50 {self.p50_ms:.2f} ms, p95 {self.p95_ms:.2f} ms ({self.count} runs{doubt})"


def percentiles(seconds: Sequence[float]) -> Latency:
    """Returns the percentiles of durations in `seconds`; all zero when there are none."""
    if not len(seconds):
        return Latency(0.0, 0.0, 0.0, 0.0, 0)
    p50, p90, p95, p99 = np.percentile(np.asarray(seconds) * 1e3, (50, 90, 95, 99)).tolist()
    return Latency(p50, p90, p95, p99, len(seconds), _relative_error(seconds))


def _relative_error(seconds: Sequence[float]) -> float:
    """Returns the standard error of the median over the median.

    From the median absolute deviation as for a normal distribution (standard error of its median:
    √(π/2) σ/√n), and from the medians of consecutive blocks, which drift moves: the larger counts.
    """
    values = np.asarray(seconds, np.float64)
    if len(values) < 2 * BLOCK:
        return float(len(values) ** -0.5)
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - median)))
    single = 1.2533 * sigma / len(values) ** 0.5
    blocks = [np.median(part) for part in np.array_split(values, len(values) // BLOCK)]
    drifting = float(np.std(blocks, ddof=1)) / len(blocks) ** 0.5
    return float(max(single, drifting, LEAST_ERROR * median) / max(median, 1e-12))


@dataclass(frozen=True, eq=False, slots=True)
class Recording:
    """A latency, and the durations of its runs in `seconds`, in their order."""

    latency: Latency
    seconds: tuple[float, ...]


class Stopwatch:
    """Times calls on one machine, the same reference between them.

    Args:
        reference: a short call that never changes, such as the smallest subnet; None goes without.
        least_runs: timed whatever it takes.
        most_runs: never exceeded.
        seconds: after `least_runs`, go on until so much time has passed.
        warm_up_runs: before, not counted: first runs allocate and fill caches.
        block: timed runs between two visits of the reference.
        clock: seconds that pass.
    """

    def __init__(
        self,
        reference: Run | None = None,
        *,
        least_runs: int = LEAST_RUNS,
        most_runs: int = MOST_RUNS,
        seconds: float = SECONDS,
        warm_up_runs: int = WARM_UP_RUNS,
        block: int = BLOCK,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reference, self._best = reference, float("inf")
        self._least, self._most, self._seconds = least_runs, most_runs, seconds
        self._warm_up_runs, self._size, self._clock = warm_up_runs, block, clock

    def time(self, run: Run) -> Latency:
        """Returns the latency of `run`; measured again, up to twice, where it is doubtful."""
        latencies = [self._once(run)]
        while latencies[-1].flags and len(latencies) <= AGAIN:
            latencies.append(self._once(run))
        best = min(latencies, key=lambda latency: (bool(latency.flags), latency.p95_ms))
        if best.flags and len(latencies) > AGAIN:
            return replace(best, flags=(*best.flags, f"measured {len(latencies)} times"))
        return best

    def record(self, run: Run) -> Recording:
        """Returns the latency of a call with the durations behind it, measured once, as it is."""
        for _ in range(self._warm_up_runs):
            run()
        durations: list[float] = []
        references: list[float] = []
        begin = self._clock()
        while len(durations) < self._most:
            durations += self._block(run, min(self._size, self._most - len(durations)))
            if self._reference is not None:
                references.append(min(timed(self._reference, VISIT, self._clock)[-2:]))
            if len(durations) >= self._least and self._clock() - begin > self._seconds:
                break
        latency = self._judged(percentiles(durations), references)
        return Recording(latency, tuple(durations))

    def _once(self, run: Run) -> Latency:
        return self.record(run).latency

    def _block(self, run: Run, count: int) -> list[float]:
        if self._reference is not None:
            run()
        return timed(run, count, self._clock)

    def _judged(self, latency: Latency, references: Sequence[float]) -> Latency:
        slowdown = 1.0
        if references:
            now = float(np.median(references))
            self._best = min(self._best, now)
            slowdown = now / self._best
        flags = []
        if slowdown > SLOWED:
            flags.append(f"the machine was {slowdown:.1f} × slower")
        if latency.relative_error > UNSTEADY and latency.count >= 2 * BLOCK:
            flags.append(f"unsteady, ±{2 * latency.relative_error:.0%}")
        return replace(latency, slowdown=slowdown, flags=tuple(flags))


def timed(run: Run, count: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Returns the durations of `count` consecutive calls of `run`, in seconds by `clock`."""
    durations = []
    for _ in range(count):
        start = clock()
        run()
        durations.append(clock() - start)
    return durations


@contextlib.contextmanager
def one_at_a_time(seconds: float = 20.0) -> Iterator[bool]:
    """Waits at most some `seconds` until no other process measures; yields whether none does."""
    try:
        import fcntl

        path = Path(tempfile.gettempdir()) / "tofa-edge-measuring.lock"
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    except (ImportError, OSError):
        yield True  # no locks here, or no place for one: measuring must not fail for that
        return
    try:
        lock = partial(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield _locked(lock, time.monotonic() + seconds)
    finally:
        os.close(file)  # frees the lock


def _locked(lock: Callable[[], None], until: float) -> bool:
    while True:
        try:
            lock()
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        else:
            return True
