"""The plot of fronts of latency and accuracy, with a budget that can be moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tofa_edge.benchmarks.report.budgets import (
    Group,
    Plot,
    Point,
    best_within,
    budgets,
    headline_budget,
    quality_name,
    said_of,
)
from tofa_edge.benchmarks.report.figure import Figure, doubted, key
from tofa_edge.benchmarks.report.svg import SIZES, Canvas, Size, canvas, even_range, log_range
from tofa_edge.benchmarks.report.tables import Table, quality, reasons_of, right
from tofa_edge.benchmarks.report.words import UNKNOWN, digits, interval, milliseconds, plain

NOTHING = "nothing is so quick"


def front_figure(plot: Plot, identity: str, table: Table, error: float | None) -> Figure | None:
    """Returns the plot of fronts; None where there is none."""
    front = plot.front
    if not front:
        return None
    title = "Latency and accuracy" if plot.predicts_accuracy else "Latency and size"
    said = f"{len(front)} networks, measured: {milliseconds(front[0].ms)} to "
    said += f"{milliseconds(front[-1].ms)} at p95."
    if error is not None:
        said += f" Predicted before, p95 was off by {100 * error:.1f} % on average."
    drawn = "".join(
        _drawn(plot, size).drawn(identity, title, said, _scale(plot, size)) for size in SIZES
    )
    note = "Up and left is better. A line joins the networks that no quicker one beats."
    if any(point.row.interval_ms for point in front):
        note += " Whiskers: the 95 % interval of p95."
    if plot.lower:
        note += " Dashed: the largest network at lower resolutions."
    if any(point.row.reasons for point in front):
        note += " Hollow: doubtful, the reason is told where it is pointed at."
    names = [group.name for group in plot.groups]
    return Figure(
        identity,
        title,
        said,
        _controls(identity, plot) + drawn + _fits(plot).html(),
        key(names, {group.name: group.number for group in plot.groups}),
        note,
        table,
        _doubted(plot),
        full=True,
    )


def _doubted(plot: Plot) -> tuple[str, ...]:
    if plot.joined:
        return doubted(point.row for point in plot.front)
    return tuple(
        f"{group.name}, {said}"
        for group in plot.groups
        for said in doubted(point.row for point in group.points)
    )


def _fits(plot: Plot) -> Table:
    """Returns what is best within round budgets."""
    if not plot.joined:
        return _fits_apart(plot)
    rows = []
    for budget in budgets(plot.front):
        best = best_within(plot.front, budget)
        if best is not None:
            shown = quality(best.row, plot.predicts_accuracy)
            rows.append(
                (f"{plain(budget)} ms", shown, milliseconds(best.ms), best.row.configuration,
                 reasons_of(best.row))
            )  # fmt: skip
    columns = ("budget", quality_name(plot.predicts_accuracy), "p95", "on", "doubts")
    return Table("Best within a budget", columns, tuple(rows))


def _fits_apart(plot: Plot) -> Table:
    """Returns the same with a column for each device."""
    rows = []
    for budget in budgets(plot.front):
        found = [best_within(group.points, budget) for group in plot.groups]
        shown = [
            UNKNOWN if best is None else said_of(best, plot.predicts_accuracy) for best in found
        ]
        rows.append((f"{plain(budget)} ms", *shown))
    return Table(
        "Best within a budget", ("budget", *(group.name for group in plot.groups)), tuple(rows)
    )


def _best_said(plot: Plot, budget: float) -> str:
    """Returns what is best within a budget, as the script says it when the budget is moved."""
    groups = [("", plot.front)] if plot.joined else [(f"{g.name}: ", g.points) for g in plot.groups]
    said = []
    for name, front in groups:
        best = best_within(front, budget)
        shown = NOTHING if best is None else said_of(best, plot.predicts_accuracy)
        said.append(f"{name}{shown}")
    return "\n".join(said)


def _controls(identity: str, plot: Plot) -> str:
    front = plot.front
    low, high = math.log10(front[0].ms), math.log10(budgets(front)[-1])
    budget = headline_budget(front)
    return (
        f'<div class="budget"><label for="{identity}-amount">Budget for p95</label> '
        f'<span><input class="amount" id="{identity}-amount" type="number" min="0" step="any" '
        f'value="{budget:.6g}" inputmode="decimal"> ms</span>'
        f'<input id="{identity}-budget" type="range" min="{low:.4f}" max="{high:.4f}" '
        f'step="0.005" value="{math.log10(budget):.4f}" aria-label="budget, logarithmic">'
        f'<output for="{identity}-budget {identity}-amount" aria-live="polite">'
        f"{escape(_best_said(plot, budget))}</output></div>"
    )


def _empty(plot: Plot, size: Size) -> Canvas:
    every = [*plot.front, *plot.lower]
    latencies = [ms for p in every for ms in (p.ms, *p.row.interval_ms.get(95, ()))]
    x, y = log_range(latencies), even_range([p.quality for p in every])
    if plot.predicts_accuracy:
        y = (max(0.0, y[0]), min(100.0, y[1]))
    return canvas(size, x, y, (True, False))


def _scale(plot: Plot, size: Size) -> str:
    """Returns where budgets lie, for the script that moves the line."""
    axis = _empty(plot, size).x
    return (
        f'data-low="{axis.low:.6g}" data-high="{axis.high:.6g}" '
        f'data-start="{axis.start:.1f}" data-end="{axis.end:.1f}"'
        + " data-apart"
        * (not plot.joined)
    )


def _drawn(plot: Plot, size: Size) -> Canvas:
    made, budget = _empty(plot, size), headline_budget(plot.front)
    made.frame(
        "measured p95, ms", "expected accuracy, %" if plot.predicts_accuracy else "size, MMACs"
    )
    at = min(made.x.at(budget), made.x.end)
    top, bottom = made.y.end, made.y.start
    made.parts.append(
        f'<rect class="beyond" x="{at:.1f}" y="{top:.1f}" height="{bottom - top:.1f}" '
        f'width="{made.x.end - at:.1f}"/>'
        f'<path class="limit" d="M0 {top:.1f}V{bottom:.1f}" transform="translate({at:.1f} 0)"/>'
    )
    if plot.joined:
        made.line([(p.ms, p.quality) for p in plot.lower], "line dashed other")
        made.line(_stairs(plot.front), "line stairs")
    fronts = [plot.front] if plot.joined else [group.points for group in plot.groups]
    best = [best_within(front, budget) for front in fronts]
    for group in plot.groups:
        made.begin(group.number, group.name)
        if not plot.joined:
            made.line([(p.ms, p.quality) for p in group.lower], "line dashed")
            made.line(_stairs(group.points), "line")
        for point in (*group.lower, *group.points):
            _mark(made, plot, group, point, point in best)
        made.end()
    return made


def _mark(made: Canvas, plot: Plot, group: Group, point: Point, best: bool) -> None:
    bounds = point.row.interval_ms.get(95)
    if bounds is not None:
        made.line([(bounds[0], point.quality), (bounds[1], point.quality)], "whisker")
    extra = ""
    if point.row.role == "front":
        said = said_of(point, plot.predicts_accuracy)
        extra = (
            f'data-ms="{point.ms:.6g}" data-quality="{point.quality:.6g}" '
            f'data-said="{escape(said)}"' + (" data-best" if best else "")
        )
    at = (point.ms, point.quality)
    lines = [] if plot.joined else [group.name]
    lines += _lines(point, plot.predicts_accuracy)
    made.mark(at, group.number, "\n".join(lines), bool(point.row.reasons), extra)


def _lines(point: Point, predicts_accuracy: bool) -> list[str]:
    row, bounds = point.row, point.row.interval_ms.get(95)
    measured = f"p95 {milliseconds(point.ms)}"
    measured += f", 95 %: {interval(bounds, 'ms')}" if bounds else ""
    measured += f", predicted {milliseconds(row.predicted_p95_ms)}" if row.predicted_p95_ms else ""
    lines = (
        row.configuration,
        f"{row.resolution or UNKNOWN} px, {digits(row.mmacs)} MMACs",
        measured,
        f"{quality_name(predicts_accuracy)} {quality(row, predicts_accuracy)}",
        f"right {right(row)}" if row.accuracy else "",
        f"doubtful: {reasons_of(row)}" if row.reasons else "",
        "" if row.role == "front" else row.role,
    )
    return [line for line in lines if line]


def _stairs(front: Sequence[Point]) -> list[tuple[float, float]]:
    """Returns the corners of the best quality within each latency."""
    best = -math.inf
    corners: list[tuple[float, float]] = []
    for point in front:
        if point.quality > best:
            if corners:
                corners.append((point.ms, best))
            corners.append((point.ms, point.quality))
            best = point.quality
    return corners
