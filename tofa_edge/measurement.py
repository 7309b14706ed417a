"""Latency as measured: warm-up, then runs until there are enough, summed up as percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of `count` runs, in milliseconds."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    count: int

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.2f} ms, p95 {self.p95_ms:.2f} ms ({self.count} runs)"


def percentiles(seconds: Sequence[float]) -> Latency:
    """Returns the percentiles of durations in seconds; all zero when there are none."""
    if not len(seconds):
        return Latency(0.0, 0.0, 0.0, 0.0, 0)
    p50, p90, p95, p99 = np.percentile(np.asarray(seconds) * 1e3, (50, 90, 95, 99)).tolist()
    return Latency(p50, p90, p95, p99, len(seconds))


def measure(
    run: Callable[[], object],
    least_runs: int = 30,
    most_runs: int = 200,
    seconds: float = 0.5,
    warm_up_runs: int = 5,
) -> Latency:
    """Times a call over and over.

    Args:
        run: what to time; it must not depend on how often it is called.
        least_runs: timed whatever it takes.
        most_runs: never exceeded.
        seconds: after `least_runs`, go on until so much time has passed.
        warm_up_runs: before, not counted: first runs allocate and fill caches.
    """
    for _ in range(warm_up_runs):
        run()
    durations: list[float] = []
    begin = time.perf_counter()
    while len(durations) < most_runs:
        start = time.perf_counter()
        run()
        end = time.perf_counter()
        durations.append(end - start)
        if len(durations) >= least_runs and end - begin > seconds:
            break
    return percentiles(durations)
