"""Timing: warm-up, counts, percentiles."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tofa_edge.measurement import Latency, measure, percentiles


class Counter:
    def __init__(self, seconds: float = 0.0) -> None:
        self.calls, self.seconds = 0, seconds

    def __call__(self) -> None:
        self.calls += 1
        time.sleep(self.seconds)


def test_fast_calls_stop_at_the_most() -> None:
    run = Counter()
    latency = measure(run, least_runs=3, most_runs=20, seconds=60, warm_up_runs=4)
    assert (latency.count, run.calls) == (20, 24)


def test_slow_calls_stop_at_the_least() -> None:
    run = Counter(0.002)
    latency = measure(run, least_runs=7, most_runs=20, seconds=0, warm_up_runs=2)
    assert (latency.count, run.calls) == (7, 9)


def test_time_decides_in_between() -> None:
    run = Counter(0.01)
    latency = measure(run, least_runs=1, most_runs=1000, seconds=0.2, warm_up_runs=0)
    assert 2 <= latency.count <= 21
    assert latency.p50_ms >= 10


def test_warm_up_is_not_counted() -> None:
    pauses = iter([0.05, 0.05])
    latency = measure(
        lambda: time.sleep(next(pauses, 0)), least_runs=5, most_runs=5, warm_up_runs=2
    )
    assert latency.p99_ms < 40


def test_failure_of_the_call_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)


def test_percentiles_are_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).permutation(np.arange(101) / 1000).tolist()
    latency = percentiles(seconds)
    found = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    assert found == pytest.approx((50, 90, 95, 99))
    assert latency.count == 101
    assert str(latency) == "p50 50.00 ms, p95 95.00 ms (101 runs)"


def test_no_durations_are_zero() -> None:
    assert percentiles([]) == Latency(0, 0, 0, 0, 0)
