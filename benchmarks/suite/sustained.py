"""One network without a pause for minutes: what heat does, second by second."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.benchmarks.result.bench_result import Moment
from tofa_edge.device.machine import state
from tofa_edge.measurement.energy import Meter
from tofa_edge.measurement.stopwatch import Run
from tofa_edge.measurement.validity import LEAST_RUNS, invalid_reasons, snapshot

log = logging.getLogger(__name__)

POINTS = 120
LEAST_POINT_S = 1.0
FADED = 0.10  # of the median from the first tenth to the last


@dataclass(frozen=True, slots=True)
class RunTrace:
    """What a call took that was repeated without a pause; `interrupted` if it ended early."""

    seconds: float
    points: tuple[Moment, ...]
    reasons: tuple[str, ...]
    interrupted: bool


def sustained(run: Run, seconds: float, threads: int, root: Path = Path("/")) -> RunTrace:
    """Returns the trace of a call that is repeated without a pause.

    Between two points the machine's state is read, which takes some milliseconds. An interrupt
    (KeyboardInterrupt) ends it early.
    """
    meter = Meter.here(root)
    points: list[Moment] = []
    for _ in range(5):
        run()
    before, begun = snapshot(root), time.monotonic()
    logged, length, interrupted = 0.0, max(LEAST_POINT_S, seconds / POINTS), False
    try:
        while (spent := time.monotonic() - begun) < seconds:
            points.append(_point(run, min(length, seconds - spent), begun, meter, root))
            if spent - logged > seconds / 10:
                logged, p50 = spent, points[-1].p50_ms
                log.info(f"sustained: p50 {p50:.2f} ms, {seconds - spent:.0f} s left")
    except KeyboardInterrupt:
        interrupted = True
    reasons = [*invalid_reasons(before, snapshot(root), None, threads), *_trace_reasons(points)]
    spent = round(time.monotonic() - begun, 1)
    return RunTrace(spent, tuple(points), tuple(dict.fromkeys(reasons)), interrupted)


def _point(run: Run, seconds: float, begun: float, meter: Meter | None, root: Path) -> Moment:
    joules = meter.joules() if meter is not None and meter.joules is not None else None
    durations: list[float] = []
    start = time.perf_counter()
    while not durations or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        run()
        durations.append(time.perf_counter() - before)
    spent = time.perf_counter() - start
    now = state(root)
    p50, p95 = 1e3 * np.percentile(durations, (50, 95))
    return Moment(
        at_s=round(time.monotonic() - begun, 2),
        p50_ms=round(float(p50), 4),
        p95_ms=round(float(p95), 4),
        count=len(durations),
        temperature_c=max((now.temperatures_c or {}).values(), default=None),
        clock_mhz=max(now.clocks_mhz or (), default=None),
        throttled=now.throttled_now or (),
        watts=_watts(meter, joules, spent),
    )


def _watts(meter: Meter | None, joules: float | None, spent: float) -> float | None:
    """Returns the mean power of a counter, or that of this moment."""
    if meter is None:
        return None
    if meter.joules is None:
        return meter.watts() if meter.watts is not None else None
    after = meter.joules()
    if joules is None or after is None or after < joules:
        return None
    return round((after - joules) / spent, 3)


def _trace_reasons(points: list[Moment]) -> list[str]:
    reasons = []
    throttled = dict.fromkeys(word for point in points for word in point.throttled)
    if throttled:
        reasons.append(f"throttled: {', '.join(throttled)}")
    medians = [point.p50_ms for point in points]
    tenth = max(1, len(medians) // 10)
    if len(medians) >= 2:
        change = float(np.median(medians[-tenth:]) / np.median(medians[:tenth]) - 1)
        if abs(change) > FADED:
            reasons.append(f"drifting clock: the median moved by {change:+.0%} from start to end")
    if sum(point.count for point in points) < LEAST_RUNS:
        reasons.append(f"too few runs: fewer than {LEAST_RUNS}")
    return reasons
