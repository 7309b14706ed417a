"""Whether a measurement counts: VALID, or the reasons why not, in the manner of MLPerf.

A snapshot of the machine is taken before a measurement and after it, never meanwhile, so that it
costs the runs nothing. What a machine does not report is no reason. Files are read below a root, so
that a recorded machine can stand in for this one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.device.files import Files
from tofa_edge.device.machine import State, state
from tofa_edge.device.problems import RAMPING
from tofa_edge.device.sensors import maximum_clock_mhz
from tofa_edge.device.sources import control_groups, memory_fields, quota_cores
from tofa_edge.measurement.counters import TICKS, processor_counts, quota_stops
from tofa_edge.measurement.order_statistics import least_count
from tofa_edge.measurement.stopwatch import SLOWED, UNSTEADY, Recording, percentiles

LEAST_RUNS = least_count(95)  # fewer do not bound the p95
BACKGROUND_CORES = 0.2  # that other programs may keep busy
BACKGROUND_SHARE = 0.05  # of all cores, where that is more
LEAST_BACKGROUND_S = 0.1  # the kernel counts in ticks
STOLEN_CORES = 0.05
DRIFT = 0.05  # of the median from the first half to the second
CLOCK_DRIFT = 0.1
CLOCK_SHARE = 0.9  # of the highest clock: a governor that ramps has arrived
STALLED_SHARE = 0.01  # of the time, for memory
SWAPPED_PAGES = 16
LEAST_MEMORY = 0.04  # of the machine's
STANDARD_ERRORS = 3.0  # that a drift must exceed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a machine counted up to a moment, seconds over all cores; None where it does not say.

    Attributes:
        at_s: the moment, by time.monotonic.
        cores: of the machine.
        busy_s: processor time of all processes.
        own_s: of it, that of this process.
        stolen_s: by the host of a virtual machine.
        stopped: times that a quota of its control groups stopped this process.
        quota_cores: that its control groups allow.
        stalled_s: in which some process waited for memory.
        swapped_pages: read back from swap.
        memory_share: available, of the machine's memory, 0..1.
        maximum_clock_mhz: of the fastest core.
        state: of the machine.
    """

    at_s: float
    cores: int | None
    busy_s: float | None
    own_s: float | None
    stolen_s: float | None
    stopped: int | None
    quota_cores: float | None
    stalled_s: float | None
    swapped_pages: int | None
    memory_share: float | None
    maximum_clock_mhz: float | None
    state: State


def snapshot(root: Path = Path("/"), at_s: float | None = None) -> Snapshot:
    """Returns what a machine, its files below `root`, has counted until now.

    A recorded machine's moment is `at_s`.
    """
    files = Files(Path(root))
    cores, busy, stolen = processor_counts(files)
    memory = memory_fields(files)
    available, present = memory.get("MemAvailable"), memory.get("MemTotal")
    swapped = re.search(r"^pswpin (\d{1,18})$", files.text("proc/vmstat") or "", re.MULTILINE)
    return Snapshot(
        at_s=time.monotonic() if at_s is None else at_s,
        cores=cores,
        busy_s=busy,
        own_s=_own(files),
        stolen_s=stolen,
        stopped=quota_stops(files),
        quota_cores=quota_cores(files),
        stalled_s=_stalled(files),
        swapped_pages=int(swapped[1]) if swapped else None,
        memory_share=available / present if present and available is not None else None,
        maximum_clock_mhz=maximum_clock_mhz(files),
        state=state(root),
    )


def invalid_reasons(
    before: Snapshot, after: Snapshot, recording: Recording | None = None, threads: int = 1
) -> tuple[str, ...]:
    """Returns why a measurement does not count; empty where it does.

    Each reason begins with what it is: "too few runs", "unsteady", "drifting clock", "throttled",
    "governor", "battery", "background load", "stolen time", "CPU quota", "memory pressure".

    Args:
        before: the machine as the measurement began.
        after: as it ended.
        recording: the runs; None where something else than single runs was measured.
        threads: that the network ran on.
    """
    reasons = [*_background_load(before, after), *_quota(before, after, threads)]
    reasons += [*_memory(before, after), *_power(before, after), *_clock(before, after)]
    if recording is not None:
        reasons += _runs(recording)
    return tuple(dict.fromkeys(reasons))


def kind(reason: str) -> str:
    """Returns what a `reason` of `invalid_reasons` is, without the figures after its colon."""
    return reason.partition(":")[0]


def _runs(recording: Recording) -> Iterator[str]:
    latency, values = percentiles(recording.seconds), np.asarray(recording.seconds)
    slowdown = recording.latency.slowdown
    if latency.count < LEAST_RUNS:
        yield f"too few runs: {latency.count}, and {LEAST_RUNS} bound the p95"
    if latency.count and latency.relative_error > UNSTEADY:
        yield f"unsteady: the median is known to ±{2 * latency.relative_error:.0%}"
    if slowdown > SLOWED:
        yield f"drifting clock: a fixed reference ran {slowdown:.2f} × slower than before"
    elif len(values) >= LEAST_RUNS:
        yield from _drift(values)


def _drift(values: DoubleArray) -> Iterator[str]:
    halves = np.array_split(values, 2)
    medians = [float(np.median(half)) for half in halves]
    first, second = (_block_error(half) for half in halves)
    moved = abs(medians[1] - medians[0])
    if moved > max(DRIFT * medians[0], STANDARD_ERRORS * float(np.hypot(first, second))):
        change = medians[1] / medians[0] - 1
        yield f"drifting clock: the median moved by {change:+.0%} from one half to the other"


def _block_error(values: DoubleArray) -> float:
    """Returns the standard error of a median by those of its blocks: runs hang together."""
    blocks = [float(np.median(part)) for part in np.array_split(values, 6)]
    return float(1.2533 * np.std(blocks, ddof=1) / len(blocks) ** 0.5)


def others_cores(before: Snapshot, after: Snapshot) -> float | None:
    """Returns how many cores other programs kept busy from `before` to `after`; None if unknown."""
    busy, own = _grown(before.busy_s, after.busy_s), _grown(before.own_s, after.own_s)
    if busy is None or own is None:
        return None
    return max(0.0, busy - own) / max(after.at_s - before.at_s, 1e-3)


def _background_load(before: Snapshot, after: Snapshot) -> Iterator[str]:
    elapsed = max(after.at_s - before.at_s, 1e-3)
    others, stolen = others_cores(before, after), _grown(before.stolen_s, after.stolen_s)
    if others is not None:
        most = max(BACKGROUND_CORES, BACKGROUND_SHARE * (after.cores or 1))
        if others > most and others * elapsed > LEAST_BACKGROUND_S:
            yield f"background load: other programs kept {others:.1f} cores busy"
    if stolen is not None and stolen > max(STOLEN_CORES * elapsed, LEAST_BACKGROUND_S):
        yield f"stolen time: the host took {stolen / elapsed:.2f} cores"


def _quota(before: Snapshot, after: Snapshot, threads: int) -> Iterator[str]:
    stopped = _grown(before.stopped, after.stopped)
    if stopped:
        yield f"CPU quota: its control group stopped this process {stopped:.0f} times"
    elif after.quota_cores is not None and after.quota_cores < threads:
        yield f"CPU quota: {after.quota_cores:g} cores for {threads} threads"


def _memory(before: Snapshot, after: Snapshot) -> Iterator[str]:
    elapsed = max(after.at_s - before.at_s, 1e-3)
    stalled = _grown(before.stalled_s, after.stalled_s)
    swapped = _grown(before.swapped_pages, after.swapped_pages)
    if stalled is not None and stalled > STALLED_SHARE * elapsed:
        yield f"memory pressure: programs waited for memory {stalled / elapsed:.0%} of the time"
    elif swapped is not None and swapped > SWAPPED_PAGES:
        yield f"memory pressure: {swapped:.0f} pages were read back from swap"
    elif after.memory_share is not None and after.memory_share < LEAST_MEMORY:
        yield f"memory pressure: {after.memory_share:.1%} of the memory is available"


def _power(before: Snapshot, after: Snapshot) -> Iterator[str]:
    held = dict.fromkeys((*(before.state.throttled_now or ()), *(after.state.throttled_now or ())))
    events = _grown(before.state.throttle_events, after.state.throttle_events)
    if held:
        yield f"throttled: {', '.join(held)}"
    elif events:
        yield f"throttled: {events:.0f} times meanwhile"
    else:
        earlier = set(before.state.throttled_since_boot or ())
        since = [word for word in after.state.throttled_since_boot or () if word not in earlier]
        if since:
            yield f"throttled: {', '.join(since)} meanwhile"
    if before.state.on_battery or after.state.on_battery:
        yield "battery: clocks are those of a machine that saves"


def _clock(before: Snapshot, after: Snapshot) -> Iterator[str]:
    clocks = [max(one.state.clocks_mhz or (), default=0.0) for one in (before, after)]
    governors = [name for name in after.state.governors or () if name in RAMPING]
    highest = after.maximum_clock_mhz
    if governors and not (highest and clocks[1] >= CLOCK_SHARE * highest):
        of = f" of {highest:.0f}" if highest else ""
        now = f"at {clocks[1]:.0f}{of} MHz" if clocks[1] else "at an unknown clock"
        yield f"governor: {', '.join(governors)}, {now}"
    elif all(clocks) and not governors and abs(clocks[1] / clocks[0] - 1) > CLOCK_DRIFT:
        yield f"drifting clock: from {clocks[0]:.0f} to {clocks[1]:.0f} MHz"


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0.0, after - before)


def _own(files: Files) -> float | None:
    """Returns the processor time of this process: utime and stime, fields 14 and 15."""
    text = files.text("proc/self/stat") or ""
    words = text.rpartition(")")[2].split()  # the name before it may hold anything
    if len(words) < 13 or not all(word.isdecimal() for word in words[11:13]):
        return None
    return (int(words[11]) + int(words[12])) / TICKS


def _stalled(files: Files) -> float | None:
    """Returns the seconds in which some process waited for memory (the kernel's psi.rst)."""
    groups = [f"{folder}/memory.pressure" for folder in control_groups(files, "memory")]
    seconds = []
    for path in dict.fromkeys(["proc/pressure/memory", *groups]):
        total = re.search(r"^some .*total=([0-9]{1,18})$", files.text(path) or "", re.MULTILINE)
        seconds += [int(total[1]) / 1e6] if total else []
    return max(seconds, default=None)
