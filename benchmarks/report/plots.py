"""Plots of one network on every engine: side by side, and how its latency is spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tofa_edge.benchmarks.report.data import Result, ResultRow
from tofa_edge.benchmarks.report.figure import Figure, engine_key, series, warnings_of
from tofa_edge.benchmarks.report.svg import Axis, Canvas, canvas, log_range, rows_canvas
from tofa_edge.benchmarks.report.tables import Table, engine_table, per_second
from tofa_edge.benchmarks.report.words import digits, interval, milliseconds

MOST_ROWS = 16
CURVES_PX = 360  # high
TAIL = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"))
MARKED = (50, 90, 95, 99)
DASHES = {
    "fp32": "line",
    "fp16": "line",
    "bf16": "line",
    "int8": "line dashed",
    "dynamic": "line dotted",
}


def measured(result: Result) -> list[ResultRow]:
    """Returns the engines that have latencies, fastest first."""
    rows = [row for row in result.engines if row.p95_ms and row.latency_ms.get(50)]
    return sorted(rows, key=lambda row: row.latency_ms[50])


def engines_figure(result: Result, identity: str) -> Figure | None:
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
        summary=f"Fastest: {fastest.configuration}, p50 {milliseconds(fastest.latency_ms[50])}"
        f", p95 {milliseconds(fastest.p95_ms)}{per_second(fastest)}.",
        plot=_ranges(shown),
        note=note,
        table=engine_table(result),
        warnings=warnings_of(result.engines),
        key=engine_key(shown),
        full=False,
    )


def _ranges(rows: Sequence[ResultRow]) -> Canvas:
    values = [ms for row in rows for ms in row.latency_ms.values()]
    plot = rows_canvas(len(rows), Axis(*log_range(values), log=True), "latency, ms")
    for index, row in enumerate(rows):
        with plot.group(series(row.engine), row.engine):
            plot.text(0, plot.y.at(index) + 14, row.configuration, kind="name")
            _range(plot, row, index + 0.66)
    return plot


def _range(plot: Canvas, row: ResultRow, y: float) -> None:
    p50 = row.latency_ms[50]
    p95, p99 = row.latency_ms.get(95, p50), row.latency_ms.get(99, p50)
    plot.line([(p50, y), (max(p95, p99), y)], "whisker")
    plot.line([(p50, y), (p95, y)], "thick")
    tip = [
        row.configuration,
        f"p50 {milliseconds(p50)}, p95 {milliseconds(p95)}, p99 {milliseconds(p99)}",
    ]
    if 95 in row.interval_ms:
        tip.append(f"p95, 95 %: {interval(row.interval_ms[95])}")
    if row.count:
        tip.append(f"{row.count} runs")
    if row.reasons:
        tip.append(f"invalid: {', '.join(row.reasons)}")
    plot.mark(p50, y, series(row.engine), "\n".join(tip), bool(row.reasons))


def percentile_figure(result: Result, identity: str) -> Figure | None:
    """Returns latency by percentile, the tail drawn wide; None where nothing was measured.

    The fastest thread count of each engine and precision is drawn; the table has all.
    """
    rows = measured(result)
    if not rows:
        return None
    fastest: dict[tuple[str, str | None], ResultRow] = {}
    for row in rows:
        fastest.setdefault((row.engine, row.precision), row)
    shown = list(fastest.values())[:MOST_ROWS]
    steadiest = min(shown, key=_spread)
    precisions = {row.precision for row in shown}
    cells = tuple(
        (row.configuration, *(milliseconds(row.latency_ms.get(p)) for p in MARKED)) for row in rows
    )
    return Figure(
        identity,
        title="Percentiles of latency",
        summary=f"Steadiest: {steadiest.configuration}, p99 is {digits(_spread(steadiest))} × its "
        "p50.",
        plot=_curves(shown),
        note="Each engine and precision with its fastest number of threads."
        + " Dashed: int8." * ("int8" in precisions)
        + " Dotted: integer weights only." * ("dynamic" in precisions),
        table=Table("Percentiles of latency", ("engine", *(f"p{p}" for p in MARKED)), cells),
        warnings=warnings_of(shown),
        key=engine_key(shown),
    )


def _spread(row: ResultRow) -> float:
    return row.latency_ms.get(99, row.latency_ms[50]) / row.latency_ms[50]


def _curves(rows: Sequence[ResultRow]) -> Canvas:
    values = [ms for row in rows for _, ms in row.curve_ms]
    places = [_stretched(percent) for row in rows for percent, _ in row.curve_ms]
    first, last = min(places), max(places)
    x = Axis(first, max(last, first + 0.5))
    plot = canvas(CURVES_PX, x, log_range(values), log_y=True)
    ticks = [(_stretched(p), name) for p, name in TAIL if first <= _stretched(p) <= last + 1e-9]
    plot.frame("percentile of all runs", "latency, ms", ticks)
    for row in rows:
        number = series(row.engine)
        with plot.group(number, row.engine):
            curve = [(_stretched(percent), ms) for percent, ms in row.curve_ms]
            plot.line(curve, DASHES.get(row.precision or "", "line"))
            for percent in MARKED:
                if percent in row.latency_ms:
                    ms = row.latency_ms[percent]
                    tip = f"{row.configuration}\np{percent} {milliseconds(ms)}"
                    plot.mark(_stretched(percent), ms, number, tip, bool(row.reasons))
    return plot


def _stretched(percent: float) -> float:
    """Returns where a percentile lies: each further nine is as far as the one before."""
    return -math.log10(1 - min(percent, 99.95) / 100)
