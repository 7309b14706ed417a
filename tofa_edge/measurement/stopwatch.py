"""Latency as measured: warm-up, then runs until there are enough, beside a fixed reference.

A clock that drifts, a governor that ramps, another program that wakes up: all of them slow every
network alike. So a `Stopwatch` runs one fixed small network between the runs of the one it times.
What the reference lost against its best is what the machine lost, not the network. And it tells a
call's own latency from the time that other programs made it wait (see `own_time`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tofa_edge.measurement.counters import Counters, OpenCounters, machine_counters
from tofa_edge.measurement.own_time import Measure, TimedRun, own_seconds, timed_runs

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
LATE_RUNS = 5  # are enough when the time is up
DISTURBED, DISTURBED_MS = 0.1, 0.05  # that other programs add to the p95: of it, and at least


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of runs by the wall clock, in milliseconds.

    Attributes:
        p50_ms: the median.
        p90_ms: nine of ten runs were faster.
        p95_ms: 95 of 100.
        p99_ms: 99 of 100.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of `count` runs, in milliseconds, and how far they can be trusted.

    They are the call's own: without the time that other programs made it wait for a core.

    Attributes:
        p50_ms: the median.
        p90_ms: nine of ten runs were faster.
        p95_ms: 95 of 100.
        p99_ms: 99 of 100.
        count: of runs.
        relative_error: standard error of the median, over the median.
        slowdown: of the reference meanwhile over its best, 1 on a steady machine.
        flags: what makes it doubtful, in words; none is good.
        observed: by the wall clock, with what other programs added; None means the same.
        measure: how its own time was told from the wall time, see `own_seconds`.
        stolen_share: what the host of a virtual machine took meanwhile, of one core's time; it
            cannot be told from the call's own. None where the machine does not say.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    count: int
    relative_error: float = 0.0
    slowdown: float = 1.0
    flags: tuple[str, ...] = ()
    observed: Percentiles | None = None
    measure: Measure = "wall"
    stolen_share: float | None = None

    def percentile_ms(self, percentile: int, observed: bool = False) -> float:
        """Returns the median where `percentile` is 50, else the 95th percentile.

        Args:
            percentile: 50 or 95.
            observed: by the wall clock, with what other programs added.
        """
        source = (self.observed or self) if observed else self
        return source.p50_ms if percentile == 50 else source.p95_ms

    def observed_ms(self, percentile: int) -> float:
        """Returns the median where `percentile` is 50, else the 95th, by the wall clock."""
        return self.percentile_ms(percentile, observed=True)

    @property
    def disturbance_ms(self) -> tuple[float, float]:
        """What other programs added to the p50 and to the p95: observed less own, 0 or more."""
        p50, p95 = (max(0.0, self.observed_ms(p) - self.percentile_ms(p)) for p in (50, 95))
        return p50, p95

    @property
    def is_disturbed(self) -> bool:
        """Whether other programs added to the p95 what one would notice."""
        return self.disturbance_ms[1] > max(DISTURBED * self.p95_ms, DISTURBED_MS)

    @property
    def steady_ms(self) -> float:
        """The median as it would be on the machine at its best: corrected where it was slower."""
        return self.p50_ms / self.slowdown if self.slowdown > SLOWED else self.p50_ms

    def __str__(self) -> str:
        doubt = "".join(f", {flag}" for flag in self.flags)
        words = f"p50 {self.p50_ms:.2f} ms, p95 {self.p95_ms:.2f} ms ({self.count} runs{doubt})"
        if self.is_disturbed:
            p50, p95 = self.disturbance_ms
            words += f"; other work adds {p50:.2f} ms at p50, {p95:.2f} ms at p95"
        return words


def percentiles(seconds: Sequence[float]) -> Latency:
    """Returns the percentiles of durations in `seconds`; all zero when there are none."""
    if not len(seconds):
        return Latency(0.0, 0.0, 0.0, 0.0, 0)
    p50, p90, p95, p99 = _quantiles_ms(seconds)
    return Latency(p50, p90, p95, p99, len(seconds), _relative_error(seconds))


def _quantiles_ms(seconds: Sequence[float]) -> list[float]:
    values = np.asarray(seconds, np.float64) * 1e3
    return [float(value) for value in np.percentile(values, (50, 90, 95, 99))]


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
    """A latency, and the durations behind it.

    Attributes:
        latency: of them.
        seconds: of the runs in their order, by the wall clock.
        own_seconds: without what other programs added; fewer where only some runs tell, and none
            where they are those of the wall clock.
    """

    latency: Latency
    seconds: tuple[float, ...]
    own_seconds: tuple[float, ...] = ()


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
        counters: opens what the machine counts of this process.
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
        counters: OpenCounters = machine_counters,
    ) -> None:
        self._reference, self._best = reference, float("inf")
        self._least, self._most, self._seconds = least_runs, most_runs, seconds
        self._warm_up_runs, self._size, self._clock = warm_up_runs, block, clock
        self._open = counters

    def time(self, run: Run, deadline: float = float("inf")) -> Latency:
        """Returns the latency of `run`; measured again, up to twice, where it is doubtful.

        Not where other programs run on, which a repetition does not mend.

        Args:
            run: what to time.
            deadline: by `time.monotonic`; after it a few runs are enough, and none are repeated.
        """
        latencies = [self._once(run, deadline)]
        while len(latencies) <= AGAIN and self._may_mend(latencies[-1]) and not _late(deadline):
            latencies.append(self._once(run, deadline))
        best = min(latencies, key=lambda latency: (bool(latency.flags), latency.p95_ms))
        if best.flags and len(latencies) > AGAIN:
            return replace(best, flags=(*best.flags, f"measured {len(latencies)} times"))
        return best

    def record(self, run: Run, deadline: float = float("inf")) -> Recording:
        """Returns the latency of a call with the durations behind it, measured once, as it is.

        Args:
            run: what to time.
            deadline: by `time.monotonic`; after it a few runs are enough.
        """
        for number in range(self._warm_up_runs):
            if not number or not _late(deadline):
                run()
        with self._open() as counters:
            stops, stolen, begun = counters.stops(), counters.stolen_s(), self._clock()
            runs, references = self._runs(run, counters, deadline)
            stopped, spent = counters.stops() != stops, self._clock() - begun
            share = _share(stolen, counters.stolen_s(), spent)
        own, measure = own_seconds(runs, stopped)
        latency = self._judged(percentiles(own.tolist()), references)
        walls = tuple(run.wall_s for run in runs)
        observed = None if measure == "wall" else Percentiles(*_quantiles_ms(walls))
        latency = replace(latency, observed=observed, measure=measure, stolen_share=share)
        return Recording(latency, walls, () if observed is None else tuple(own.tolist()))

    def _once(self, run: Run, deadline: float = float("inf")) -> Latency:
        return self.record(run, deadline).latency

    def _runs(
        self, run: Run, counters: Counters, deadline: float
    ) -> tuple[list[TimedRun], list[float]]:
        """Returns the runs, and how long the reference took between them."""
        runs: list[TimedRun] = []
        references: list[float] = []
        begun = self._clock()
        while len(runs) < self._most:
            count = LATE_RUNS if _late(deadline) else self._size
            if self._reference is not None:
                run()
            runs += timed_runs(run, min(count, self._most - len(runs)), self._clock, counters)
            if self._reference is not None:
                visit = timed_runs(self._reference, VISIT, self._clock, counters)[-2:]
                references.append(float(min(own_seconds(visit)[0])))
            enough = len(runs) >= self._least and self._clock() - begun > self._seconds
            if enough or (len(runs) >= LATE_RUNS and _late(deadline)):
                break
        return runs, references

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

    @staticmethod
    def _may_mend(latency: Latency) -> bool:
        """Whether measuring again may help: not against other programs that run on."""
        return bool(latency.flags) and (latency.slowdown > SLOWED or not latency.is_disturbed)


def timed(run: Run, count: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Returns the durations of `count` consecutive calls of `run`, in seconds by `clock`."""
    durations = []
    for _ in range(count):
        start = clock()
        run()
        durations.append(clock() - start)
    return durations


def _late(deadline: float) -> bool:
    return time.monotonic() > deadline


def _share(before: float | None, after: float | None, seconds: float) -> float | None:
    """Returns what a count of seconds grew by, of the time that passed; None where unknown."""
    if before is None or after is None or seconds <= 0:
        return None
    return round(max(0.0, after - before) / seconds, 4)
