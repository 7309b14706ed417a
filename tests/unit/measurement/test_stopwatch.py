"""Timing: warm-up, counts, percentiles."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tofa_edge.measurement.counters import Reading
from tofa_edge.measurement.stopwatch import Latency, Percentiles, Stopwatch, percentiles


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counts:
    """A machine on which the caller works whenever it does not wait for a core."""

    stolen = stopped = 0.0

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock, self.waited = clock or Clock(), 0.0

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.waited += seconds

    def list_threads(self) -> None:
        pass

    def read(self) -> Reading:
        worked = self.clock.now - self.waited
        return Reading(worked, worked, waited_s=self.waited)

    def stops(self) -> int:
        return int(self.stopped)

    def stolen_s(self) -> float:
        return self.stolen

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Counts]:
        yield self


class Counter:
    """A call that takes some seconds of a clock."""

    def __init__(self, seconds: float = 0.0, clock: Clock | None = None) -> None:
        self.calls, self.seconds, self.clock = 0, seconds, clock or Clock()

    def __call__(self) -> None:
        self.calls += 1
        self.clock.now += self.seconds


def on_clock(clock: Clock, reference: Counter | None = None) -> Stopwatch:
    """Returns a stopwatch of 30 runs."""
    return counting(Counts(clock), reference)


def counting(counts: Counts, reference: Counter | None = None) -> Stopwatch:
    return Stopwatch(
        reference,
        least_runs=30,
        most_runs=30,
        warm_up_runs=0,
        clock=counts.clock,
        counters=counts,
    )


def test_fast_calls_stop_at_the_most() -> None:
    run = Counter()
    latency = Stopwatch(least_runs=3, most_runs=10, seconds=60, warm_up_runs=4).time(run)
    assert (latency.count, run.calls) == (10, 14)


def test_slow_calls_stop_at_the_least() -> None:
    run = Counter(0.002)
    latency = Stopwatch(least_runs=7, most_runs=60, seconds=0, warm_up_runs=2).record(run).latency
    assert latency.count == 12, "whole blocks of 6"
    assert run.calls == 14


def test_time_decides_in_between() -> None:
    run = Counter(0.01)
    stopwatch = Stopwatch(
        least_runs=1,
        most_runs=1000,
        seconds=0.2,
        warm_up_runs=0,
        clock=run.clock,
        counters=Counts(run.clock),
    )
    latency = stopwatch._once(run)
    assert latency.count == 24, "4 blocks of 6"
    assert latency.p50_ms == pytest.approx(10)


def test_warm_up_is_not_counted() -> None:
    clock, pauses = Clock(), iter([0.05, 0.05])

    def run() -> None:
        clock.now += next(pauses, 0.001)

    stopwatch = Stopwatch(
        least_runs=5, most_runs=5, warm_up_runs=2, clock=clock, counters=Counts(clock)
    )
    latency = stopwatch._once(run)
    assert latency.p99_ms == pytest.approx(1)


def test_failure_of_the_call_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Stopwatch().time(lambda: 1 / 0)


def test_reference_runs_between() -> None:
    run, reference = Counter(), Counter()
    latency = Stopwatch(reference, least_runs=18, most_runs=18, warm_up_runs=0).record(run).latency
    assert latency.count == 18
    assert reference.calls == 15, "five times after each block of 6"
    assert run.calls == 18 + 3, "the first after the reference is not counted"


def test_slower_machine_is_seen_and_corrected() -> None:
    """Everything takes twice as long from the second measurement on."""
    clock = Clock()
    run, reference = Counter(0.002, clock), Counter(0.001, clock)
    stopwatch = on_clock(clock, reference)
    before = stopwatch.time(run)
    run.seconds, reference.seconds = 0.004, 0.002
    after = stopwatch.time(run)
    assert after.slowdown == pytest.approx(2)
    assert any("slower" in flag for flag in after.flags)
    assert "measured 3 times" in after.flags
    assert after.steady_ms == pytest.approx(before.p50_ms)
    assert "slower" in str(after)


def test_one_bad_moment_is_measured_again() -> None:
    """The machine stumbles in the first measurement only."""
    clock, calls = Clock(), {"count": 0}

    def run() -> None:
        calls["count"] += 1
        clock.now += 0.004 * (calls["count"] % 5) if calls["count"] < 32 else 0.002

    latency = on_clock(clock).time(run)
    assert calls["count"] == 60
    assert latency.p95_ms < 12


def test_error_shrinks_with_runs() -> None:
    rng = np.random.default_rng(0)
    errors = [percentiles(rng.lognormal(0, 0.2, n).tolist()).relative_error for n in (40, 4000)]
    assert errors[0] > 3 * errors[1]
    assert errors[1] >= 0.005


def test_drift_counts_as_error() -> None:
    steady = percentiles([1.0 + 0.01 * (i % 3) for i in range(60)])
    drifting = percentiles([1.0 + 0.01 * i for i in range(60)])
    assert drifting.relative_error > 5 * steady.relative_error


def test_percentiles_are_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).permutation(np.arange(101) / 1000).tolist()
    latency = percentiles(seconds)
    found = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    assert found == pytest.approx((50, 90, 95, 99))
    assert latency.count == 101
    assert str(latency) == "p50 50.00 ms, p95 95.00 ms (101 runs)"


def test_no_durations_are_zero() -> None:
    assert percentiles([]) == Latency(0, 0, 0, 0, 0)


def waits_every(counts: Counts, nth: int, seconds: float = 0.002) -> Counter:
    """Returns a call of some seconds that waits 9 ms for a core in every `nth` run."""

    class Waits(Counter):
        def __call__(self) -> None:
            super().__call__()
            if self.calls % nth == 0:
                counts.wait(0.009)

    return Waits(seconds, counts.clock)


def test_time_that_others_took_is_told_apart() -> None:
    counts = Counts()
    recording = counting(counts).record(waits_every(counts, 3))
    latency = recording.latency
    assert latency.measure == "less waiting"
    assert (latency.p50_ms, latency.p95_ms) == pytest.approx((2, 2))
    assert latency.observed_ms(95) == latency.percentile_ms(95, observed=True)
    assert latency.observed_ms(95) == pytest.approx(11)
    assert latency.disturbance_ms == pytest.approx((0, 9))
    assert str(latency).endswith("(30 runs); other work adds 0.00 ms at p50, 9.00 ms at p95")
    assert max(recording.seconds) == pytest.approx(0.011)
    assert recording.own_seconds == pytest.approx([0.002] * 30)


def test_other_work_does_not_look_like_a_slower_clock() -> None:
    counts = Counts()
    reference = Counter(0.001, counts.clock)
    stopwatch = counting(counts, reference)
    stopwatch.record(Counter(0.002, counts.clock))
    stopwatch._reference = waits_every(counts, 1, 0.001)
    latency = stopwatch.record(Counter(0.002, counts.clock)).latency
    assert latency.slowdown == pytest.approx(1)


def test_what_a_quota_takes_is_its_own() -> None:
    counts = Counts()
    run = waits_every(counts, 3)

    def stopped() -> None:
        run()
        counts.stopped += 1

    recording = counting(counts).record(stopped)
    assert (recording.latency.measure, recording.own_seconds) == ("wall", ())
    assert recording.latency.observed is None
    assert recording.latency.p95_ms == recording.latency.observed_ms(95) == pytest.approx(11)


def test_stolen_time_is_told() -> None:
    counts = Counts()

    def run() -> None:
        counts.clock.now += 0.01
        counts.stolen += 0.001

    assert counting(counts).time(run).stolen_share == pytest.approx(0.1)


def test_other_work_that_goes_on_is_not_waited_for() -> None:
    """The call is unsteady, and others disturb it: two more measurements would be no better."""
    counts = Counts()
    waits, calls = waits_every(counts, 3), {"count": 0}

    def run() -> None:
        calls["count"] += 1
        counts.clock.now += 0.002 * (calls["count"] % 5)
        waits()

    latency = counting(counts).time(run)
    assert any("unsteady" in flag for flag in latency.flags)
    assert calls["count"] == 30


def test_few_runs_are_enough_after_the_deadline() -> None:
    run, reference = Counter(), Counter()
    latency = Stopwatch(reference).time(run, deadline=time.monotonic() - 1)
    assert latency.count == 5
    assert run.calls == 7, "one to warm up, one after the reference"


def test_small_disturbances_are_not_worth_a_word() -> None:
    latency = Latency(1, 1, 1, 1, 30, observed=Percentiles(1, 1, 1.04, 2))
    assert not latency.is_disturbed
    assert str(latency) == "p50 1.00 ms, p95 1.00 ms (30 runs)"


@pytest.mark.quiet
def test_own_latency_is_the_same_on_a_busy_machine() -> None:
    values = np.random.default_rng(0).random(50_000)
    stopwatch = Stopwatch(least_runs=100, seconds=1.0)

    def run() -> None:
        for _ in range(8):
            np.sin(values)

    stopwatch.time(run)
    quiet = stopwatch.time(run)
    if quiet.measure != "less waiting":
        pytest.skip(f"this kernel does not count waiting: {quiet.measure}")
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(3)]
    try:
        busy = stopwatch.time(run)
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert busy.p95_ms == pytest.approx(quiet.p95_ms, rel=0.15)
    assert busy.observed_ms(95) > 1.5 * busy.p95_ms
    assert busy.is_disturbed
