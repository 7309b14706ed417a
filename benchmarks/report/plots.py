"""Plots of one network on every engine: side by side, and how its latency is spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tofa_edge.benchmarks.report.data import Result, ResultRow
from tofa_edge.benchmarks.report.figure import Figure, doubted, key, series
from tofa_edge.benchmarks.report.svg import HALVES, SIZES, Axis, Canvas, Size, canvas, log_range
from tofa_edge.benchmarks.report.tables import Table, engine_table, per_second, reasons_of
from tofa_edge.benchmarks.report.words import digits, interval, milliseconds

MOST_ROWS = 16
ROW_PX = 38
TAIL = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"))
MARKED = (50, 90, 95, 99)
DASHES = {"fp32": "line", "fp16": "line", "int8": "line dashed", "dynamic": "line dotted"}


def measured(result: Result) -> list[ResultRow]:
    """Returns the engines that have latencies, quickest first."""
    rows = [row for row in result.engines if row.p95_ms and row.latency_ms.get(50)]
    return sorted(rows, key=lambda row: row.latency_ms[50])


def engines_figure(result: Result, identity: str) -> Figure | None:
    """Returns every engine on one axis of latency; None where nothing was measured."""
    rows = measured(result)
    if not rows:
        return None
    shown = rows[:MOST_ROWS]
    quickest = rows[0]
    said = f"Quickest: {quickest.configuration}, p50 {milliseconds(quickest.latency_ms[50])}"
    said += f", p95 {milliseconds(quickest.p95_ms)}{per_second(quickest)}."
    title = "Engines side by side"
    height = 30 + ROW_PX * len(shown) + 52
    drawn = "".join(
        _ranges(shown, Size(size.name, size.width, height)).drawn(identity, title, said)
        for size in HALVES
    )
    note = "Marker: p50; thick line up to p95, thin line up to p99. One network, the same on all."
    if len(rows) > len(shown):
        note += f" The table has {len(rows) - len(shown)} more, slower."
    return Figure(
        identity,
        title,
        said,
        drawn,
        key(sorted({row.engine for row in shown})),
        note,
        engine_table(result),
        doubted(result.engines),
    )


def _ranges(rows: Sequence[ResultRow], size: Size) -> Canvas:
    values = [ms for row in rows for ms in row.latency_ms.values()]
    made = canvas(size, log_range(values), (0, len(rows)), (True, False), left=6)
    made.y = Axis(0, len(rows), 30, 30 + ROW_PX * len(rows))
    made.columns("latency, ms", (30, 30 + ROW_PX * len(rows)))
    for index, row in enumerate(rows):
        made.begin(series(row.engine), row.engine)
        made.text(made.x.start, made.y.at(index + 0.38), row.configuration, "start", "name")
        _range(made, row, index + 0.66)
        made.end()
    return made


def _range(made: Canvas, row: ResultRow, y: float) -> None:
    p50 = row.latency_ms[50]
    p95, p99 = row.latency_ms.get(95, p50), row.latency_ms.get(99, p50)
    made.line([(p50, y), (max(p95, p99), y)], "whisker")
    made.line([(p50, y), (p95, y)], "thick")
    said = "\n".join(
        (
            row.configuration,
            f"p50 {milliseconds(p50)}, p95 {milliseconds(p95)}, p99 {milliseconds(p99)}",
            *(
                [f"p95, 95 %: {interval(row.interval_ms[95], 'ms')}"]
                if 95 in row.interval_ms
                else []
            ),
            *([f"{row.count} runs"] if row.count else []),
            *([f"doubtful: {reasons_of(row)}"] if row.reasons else []),
        )
    )
    made.mark((p50, y), series(row.engine), said, bool(row.reasons))


def percentile_figure(result: Result, identity: str) -> Figure | None:
    """Returns latency by percentile, the tail drawn wide; None where nothing was measured.

    The quickest thread count of each engine and precision is drawn; the table has all.
    """
    rows = measured(result)
    if not rows:
        return None
    shown: dict[tuple[str, str | None], ResultRow] = {}
    for row in rows:
        shown.setdefault((row.engine, row.precision), row)
    drawn_rows = list(shown.values())[:MOST_ROWS]
    steadiest = min(drawn_rows, key=_spread)
    title = "Percentiles of latency"
    said = f"Steadiest: {steadiest.configuration}, p99 is {digits(_spread(steadiest))} × its p50."
    drawn = "".join(_curves(drawn_rows, size).drawn(identity, title, said) for size in SIZES)
    names = sorted({row.engine for row in drawn_rows})
    precisions = {row.precision for row in drawn_rows}
    note = "Each engine and precision with its quickest number of threads."
    if "int8" in precisions:
        note += " Dashed: int8."
    if "dynamic" in precisions:
        note += " Dotted: integer weights only."
    columns = ("engine", *(f"p{p}" for p in MARKED))
    cells = tuple(
        (row.configuration, *(milliseconds(row.latency_ms.get(p)) for p in MARKED)) for row in rows
    )
    table = Table("Percentiles of latency", columns, cells)
    return Figure(
        identity, title, said, drawn, key(names), note, table, doubted(drawn_rows), full=True
    )


def _spread(row: ResultRow) -> float:
    return row.latency_ms.get(99, row.latency_ms[50]) / row.latency_ms[50]


def _curves(rows: Sequence[ResultRow], size: Size) -> Canvas:
    values = [ms for row in rows for _, ms in row.curve_ms]
    last = max(_stretched(percent) for row in rows for percent, _ in row.curve_ms)
    first = min(_stretched(percent) for row in rows for percent, _ in row.curve_ms)
    made = canvas(size, (first, max(last, first + 0.5)), log_range(values), (False, True))
    ticks = [(_stretched(p), name) for p, name in TAIL if first <= _stretched(p) <= last + 1e-9]
    made.frame("percentile of all runs", "latency, ms", ticks)
    for row in rows:
        made.begin(series(row.engine), row.engine)
        curve = [(_stretched(percent), ms) for percent, ms in row.curve_ms]
        made.line(curve, DASHES.get(row.precision or "", "line"))
        for percent in MARKED:
            if percent in row.latency_ms:
                ms = row.latency_ms[percent]
                said = f"{row.configuration}\np{percent} {milliseconds(ms)}"
                made.mark((_stretched(percent), ms), series(row.engine), said, bool(row.reasons))
        made.end()
    return made


def _stretched(percent: float) -> float:
    """Returns where a percentile lies: each further nine is as far as the one before."""
    return -math.log10(1 - min(percent, 99.95) / 100)
