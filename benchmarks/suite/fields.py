"""From engines, subnets and recordings to the fields of a row, and back."""

from __future__ import annotations

from dataclasses import replace

from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.result.row import Role, Row
from tofa_edge.benchmarks.result.row_parts import Configuration
from tofa_edge.errors import TofaError
from tofa_edge.measurement.order_statistics import curve, interval
from tofa_edge.measurement.stopwatch import Latency, Percentiles, Recording
from tofa_edge.storage.files import one_line

UNMEASURED = "not measured"  # of a row, until it has a latency
PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")


def configuration(engine: Engine) -> Configuration:
    """Returns how an engine stands in a result."""
    target = engine.target
    return Configuration(engine.backend.name, target.unit, target.precision, target.threads)


def failed_row(role: Role, subnet: Subnet, engine: Engine, error: TofaError) -> Row:
    """Returns the row of a `subnet` that an `error` kept from being measured.

    Args:
        role: what it was to be measured for.
        subnet: which.
        engine: that was to run it.
        error: why it was not.
    """
    at = subnet.resolution
    whole = configuration(engine)
    return Row(role, whole, subnet.to_json(), resolution=at, failed=one_line(error))


def subnet_of(row: Row) -> Subnet:
    """Returns the subnet of a row that has one."""
    assert row.subnet is not None
    return Subnet.from_json(row.subnet)


def with_latency(row: Row, recording: Recording, reasons: tuple[str, ...] = ()) -> Row:
    """Returns a row with the latency of a `recording`, its intervals and its curve.

    They are the network's own; see `Row.latency`. The intervals are of 95 %, from order statistics.

    Args:
        row: to be filled.
        recording: of its runs.
        reasons: why it does not count.
    """
    values = [1e3 * value for value in recording.own_seconds or recording.seconds]
    ends = {p: interval(values, p) for p in (50, 95, 99)}
    pairs = {p: pair and (round(pair[0], 4), round(pair[1], 4)) for p, pair in ends.items()}
    return replace(
        row,
        failed=None,
        reasons=reasons,
        latency=rounded(recording.latency),
        p50_interval_ms=pairs[50],
        p95_interval_ms=pairs[95],
        p99_interval_ms=pairs[99],
        curve_ms=tuple((percent, round(value, 5)) for percent, value in curve(values)),
    )


def rounded(latency: Latency) -> Latency:
    """Returns a latency with milliseconds and shares to four or five decimals."""
    seen = latency.observed
    walls = (
        None if seen is None else Percentiles(*(round(getattr(seen, n), 5) for n in PERCENTILES))
    )
    own = {name: round(getattr(latency, name), 5) for name in PERCENTILES}
    shares = {name: round(getattr(latency, name), 4) for name in ("relative_error", "slowdown")}
    return replace(latency, observed=walls, **own, **shares)


def summary(row: Row) -> str:
    """Returns what was measured of a row, or why it was not, on one line."""
    if row.latency is None:
        return f"{row.name}: failed, {row.failed}"
    verdict = "VALID" if row.valid else f"INVALID, {'; '.join(row.reasons)}"
    p50, p95 = row.latency.p50_ms, row.latency.p95_ms
    return f"{row.name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms; {verdict}"
