"""Timing: warm-up, counts, percentiles."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.measurement.stopwatch import Latency, Stopwatch, one_at_a_time, percentiles


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """A call that takes some seconds of a clock."""

    def __init__(self, seconds: float = 0.0, clock: Clock | None = None) -> None:
        self.calls, self.seconds, self.clock = 0, seconds, clock or Clock()

    def __call__(self) -> None:
        self.calls += 1
        self.clock.now += self.seconds


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
        least_runs=1, most_runs=1000, seconds=0.2, warm_up_runs=0, clock=run.clock
    )
    latency = stopwatch._once(run)
    assert latency.count == 24, "4 blocks of 6"
    assert latency.p50_ms == pytest.approx(10)


def test_warm_up_is_not_counted() -> None:
    clock, pauses = Clock(), iter([0.05, 0.05])

    def run() -> None:
        clock.now += next(pauses, 0.001)

    latency = Stopwatch(least_runs=5, most_runs=5, warm_up_runs=2, clock=clock)._once(run)
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
    stopwatch = Stopwatch(reference, least_runs=30, most_runs=30, warm_up_runs=1, clock=clock)
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

    latency = Stopwatch(least_runs=30, most_runs=30, warm_up_runs=0, clock=clock).time(run)
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


def test_only_one_process_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the other process; below, of this one
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "from tofa_edge.measurement.stopwatch import one_at_a_time\n"
        "with one_at_a_time(0.2) as alone: print(alone)"
    )
    with one_at_a_time() as alone:
        assert alone
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == "False"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_percentiles_are_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).permutation(np.arange(101) / 1000).tolist()
    latency = percentiles(seconds)
    found = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    assert found == pytest.approx((50, 90, 95, 99))
    assert latency.count == 101
    assert str(latency) == "p50 50.00 ms, p95 95.00 ms (101 runs)"


def test_no_durations_are_zero() -> None:
    assert percentiles([]) == Latency(0, 0, 0, 0, 0)
