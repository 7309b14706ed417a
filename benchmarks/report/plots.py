"""Plots of one network on every engine: side by side, and how its latency is spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tofa_edge.benchmarks.report.figure import Figure, engine_key, series, warnings_of
from tofa_edge.benchmarks.report.svg import Axis, Canvas, canvas, log_range, rows_canvas
from tofa_edge.benchmarks.report.tables import Table, engine_table, per_second
from tofa_edge.benchmarks.report.words import digits, interval, milliseconds
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.row import Row

MOST_ROWS = 16
CURVES_PX = 360  # high
TAIL = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"))
MARKED = (50, 90, 95, 99)
DASHES = {"int8": "line dashed", "dynamic": "line dotted"}  # other precisions have a solid line


def measured(result: BenchResult) -> list[Row]:
    """Returns the engines that have latencies, fastest first."""
    rows = [row for row in result.middle if row.latency]
    return sorted(rows, key=lambda row: row.latency_ms[50])


def engines_figure(result: BenchResult, identity: str) -> Figure | None:
    """Returns every engine on one axis of latency; None where nothing was measured."""
    rows = measured(result)
    if not rows:
        return None
    shown, fastest = rows[:MOST_ROWS], rows[0]
    note = "Marker: p50; thick line up to p95, thin line up to p99. One network, the same on all."
    if len(rows) > len(shown):
        note += f" The table has {len(rows) - len(shown)} more, slower."
    return Figure(
        identity,
        title="Engines side by side",
        summary=f"Fastest: {fastest.name}, p50 {milliseconds(fastest.latency_ms[50])}"
        f", p95 {milliseconds(fastest.p95_ms)}{per_second(fastest)}.",
        plot=_ranges(shown),
        note=note,
        table=engine_table(result),
        warnings=warnings_of(result.middle),
        key=engine_key(shown),
        full=False,
    )


def _ranges(rows: Sequence[Row]) -> Canvas:
    values = [ms for row in rows for ms in row.latency_ms.values()]
    plot = rows_canvas(len(rows), Axis(*log_range(values), log=True), "latency, ms")
    for index, row in enumerate(rows):
        with plot.group(series(row.configuration.engine), row.configuration.engine):
            plot.text(0, plot.y.at(index) + 14, row.name, kind="name")
            _range(plot, row, index + 0.66)
    return plot


def _range(plot: Canvas, row: Row, y: float) -> None:
    p50, p95, p99 = (row.latency_ms[percent] for percent in (50, 95, 99))
    plot.line([(p50, y), (p99, y)], "whisker")
    plot.line([(p50, y), (p95, y)], "thick")
    tip = [
        row.name,
        f"p50 {milliseconds(p50)}, p95 {milliseconds(p95)}, p99 {milliseconds(p99)}",
    ]
    if 95 in row.interval_ms:
        tip.append(f"p95, 95 %: {interval(row.interval_ms[95])}")
    if row.latency:
        tip.append(f"{row.latency.count} runs")
    if row.reasons:
        tip.append(f"invalid: {', '.join(row.reasons)}")
    plot.mark(p50, y, series(row.configuration.engine), "\n".join(tip), bool(row.reasons))


def percentile_figure(result: BenchResult, identity: str) -> Figure | None:
    """Returns latency by percentile, the tail drawn wide; None where nothing was measured.

    The fastest thread count of each engine and precision is drawn; the table has all.
    """
    rows = measured(result)
    if not rows:
        return None
    fastest: dict[tuple[str, str], Row] = {}
    for row in rows:
        fastest.setdefault((row.configuration.engine, row.configuration.precision), row)
    shown = list(fastest.values())[:MOST_ROWS]
    steadiest = min(shown, key=_spread)
    precisions = {row.configuration.precision for row in shown}
    cells = tuple((row.name, *(milliseconds(row.latency_ms[p]) for p in MARKED)) for row in rows)
    return Figure(
        identity,
        title="Percentiles of latency",
        summary=f"Steadiest: {steadiest.name}, p99 is {digits(_spread(steadiest))} × its p50.",
        plot=_curves(shown),
        note="Each engine and precision with its fastest number of threads."
        + " Dashed: int8." * ("int8" in precisions)
        + " Dotted: integer weights only." * ("dynamic" in precisions),
        table=Table("Percentiles of latency", ("engine", *(f"p{p}" for p in MARKED)), cells),
        warnings=warnings_of(shown),
        key=engine_key(shown),
    )


def _spread(row: Row) -> float:
    return row.latency_ms[99] / row.latency_ms[50]


def _curves(rows: Sequence[Row]) -> Canvas:
    values = [ms for row in rows for _, ms in _curve(row)]
    places = [_stretched(percent) for row in rows for percent, _ in _curve(row)]
    first, last = min(places), max(places)
    x = Axis(first, max(last, first + 0.5))
    plot = canvas(CURVES_PX, x, log_range(values), log_y=True)
    ticks = [(_stretched(p), name) for p, name in TAIL if first <= _stretched(p) <= last + 1e-9]
    plot.frame("percentile of all runs", "latency, ms", ticks)
    for row in rows:
        number = series(row.configuration.engine)
        with plot.group(number, row.configuration.engine):
            curve = [(_stretched(percent), ms) for percent, ms in _curve(row)]
            plot.line(curve, DASHES.get(row.configuration.precision, "line"))
            for percent in MARKED:
                ms = row.latency_ms[percent]
                tip = f"{row.name}\np{percent} {milliseconds(ms)}"
                plot.mark(_stretched(percent), ms, number, tip, bool(row.reasons))
    return plot


def _curve(row: Row) -> tuple[tuple[float, float], ...]:
    """Returns pairs of a percentile and milliseconds; four where an old result has no more."""
    return row.curve_ms or tuple((float(p), ms) for p, ms in row.latency_ms.items())


def _stretched(percent: float) -> float:
    """Returns where a percentile lies: each further nine is as far as the one before."""
    return -math.log10(1 - min(percent, 99.95) / 100)
