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
    point_summary,
    quality_name,
)
from tofa_edge.benchmarks.report.figure import Figure, key, warnings_of
from tofa_edge.benchmarks.report.svg import Axis, Canvas, canvas, even_range, log_range, rectangle
from tofa_edge.benchmarks.report.tables import Table, correct, quality, validity
from tofa_edge.benchmarks.report.words import UNKNOWN, digits, interval, milliseconds, plain
from tofa_edge.benchmarks.result.row import Row

FRONT_PX = 380  # high
OTHER = 7  # series of external networks
AGAINST = "their accuracy as measured on the check photos"
NOTHING = "nothing is within this budget"


def front_figure(plot: Plot, identity: str, table: Table, error: float | None) -> Figure | None:
    """Returns the plot of fronts; None where there is none."""
    front = plot.front
    if not front:
        return None
    summary = f"{len(front)} networks, measured: {milliseconds(front[0].ms)} to "
    summary += f"{milliseconds(front[-1].ms)} at p95."
    if error is not None:
        summary += f" Predicted before, p95 was off by {100 * error:.1f} % on average."
    drawn = _drawn(plot)
    return Figure(
        identity,
        title="Latency and accuracy" if plot.predicts_accuracy else "Latency and size",
        summary=summary,
        plot=drawn,
        note=_note(plot),
        table=table,
        warnings=_warnings(plot),
        key=key({group.name: group.number for group in plot.groups}),
        before=_controls(identity, plot),
        after=_best_table(plot).html(),
        data=f'data-low="{drawn.x.low:.6g}" data-high="{drawn.x.high:.6g}"'
        + " data-apart" * (not plot.joined),
    )


def _note(plot: Plot) -> str:
    note = "Up and left is better. A line joins the networks that no faster one beats."
    if any(point.row.interval_ms for point in plot.front):
        note += " Whiskers: the 95 % interval of p95."
    if plot.against:
        note += f" Stars: external networks, {AGAINST}; a line where no accuracy is known."
    if plot.lower:
        note += " Dashed: the largest network at lower resolutions."
    if any(point.row.reasons for point in plot.front):
        note += " Hollow: invalid; point at the marker for the reason."
    return note


def _warnings(plot: Plot) -> tuple[str, ...]:
    if plot.joined:
        return warnings_of(point.row for point in plot.front)
    return tuple(
        f"{group.name}, {warning}"
        for group in plot.groups
        for warning in warnings_of(point.row for point in group.points)
    )


def _best_table(plot: Plot) -> Table:
    """Returns what is best within round budgets; a column for each device if there are many."""
    title, predicts = "Best within a budget", plot.predicts_accuracy
    rows: list[tuple[str, ...]] = []
    for budget in budgets(plot.front):
        name = f"{plain(budget)} ms"
        if not plot.joined:
            best_of_each = (best_within(group.points, budget) for group in plot.groups)
            rows.append(
                (name, *(point_summary(p, predicts) if p else UNKNOWN for p in best_of_each))
            )
        elif best := best_within(plot.front, budget):
            row = best.row
            figures = quality(row, predicts), milliseconds(best.ms), row.name
            rows.append((name, *figures, validity(row)))
    if not plot.joined:
        return Table(title, ("budget", *(group.name for group in plot.groups)), tuple(rows))
    columns = ("budget", quality_name(predicts), "p95", "on", "validity")
    return Table(title, columns, tuple(rows))


def _best_text(plot: Plot, budget: float) -> str:
    """Returns what is best within a budget, as the script writes it when the budget is moved."""
    groups = [("", plot.front)] if plot.joined else [(f"{g.name}: ", g.points) for g in plot.groups]
    best = [(name, best_within(front, budget)) for name, front in groups]
    return "\n".join(
        name + (point_summary(point, plot.predicts_accuracy) if point else NOTHING)
        for name, point in best
    )


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
        f"{escape(_best_text(plot, budget))}</output></div>"
    )


def _drawn(plot: Plot) -> Canvas:
    every = [*plot.front, *plot.lower]
    latencies = [ms for p in every for ms in (p.ms, *p.row.interval_ms.get(95, ()))]
    latencies += [row.p95_ms for row in plot.against if row.p95_ms]
    y = even_range(
        [p.quality for p in every] + [q for row in plot.against if (q := _right(plot, row))]
    )
    if plot.predicts_accuracy:
        y = (max(0.0, y[0]), min(100.0, y[1]))
    drawn = canvas(FRONT_PX, Axis(*log_range(latencies), log=True), y)
    drawn.frame(
        "measured p95, ms", "expected accuracy, %" if plot.predicts_accuracy else "size, MMACs"
    )
    budget = headline_budget(plot.front)
    at, top, bottom = min(drawn.x.at(budget), 100.0), drawn.y.end, drawn.y.start
    drawn.parts.append(rectangle("beyond", at, 100, top, bottom, least=0))
    drawn.rule(at, at, top, bottom, "limit")
    if plot.joined:
        drawn.line([(p.ms, p.quality) for p in plot.lower], "line dashed other")
        drawn.line(_stairs(plot.front), "line stairs")
    fronts = [plot.front] if plot.joined else [group.points for group in plot.groups]
    best = [best_within(front, budget) for front in fronts]
    for group in plot.groups:
        with drawn.group(group.number, group.name):
            if not plot.joined:
                drawn.line([(p.ms, p.quality) for p in group.lower], "line dashed")
                drawn.line(_stairs(group.points), "line")
            for point in (*group.lower, *group.points):
                _mark(drawn, plot, group, point, point in best)
    for row in plot.against:
        _mark_other(drawn, plot, row)
    return drawn


def _mark(drawn: Canvas, plot: Plot, group: Group, point: Point, best: bool) -> None:
    bounds = point.row.interval_ms.get(95)
    if bounds is not None:
        drawn.line([(bounds[0], point.quality), (bounds[1], point.quality)], "whisker")
    extra = ""
    if point.row.role == "front":
        extra = (
            f'data-ms="{point.ms:.6g}" data-quality="{point.quality:.6g}" '
            f'data-summary="{escape(point_summary(point, plot.predicts_accuracy))}"'
            + " data-best"
            * best
        )
    lines = [group.name] * (not plot.joined) + _tip(point, plot.predicts_accuracy)
    hollow = bool(point.row.reasons)
    drawn.mark(point.ms, point.quality, group.number, "\n".join(lines), hollow, extra)


def _right(plot: Plot, row: Row) -> float | None:
    """Returns the measured accuracy of an external network in per cent, where it compares."""
    known = row.accuracy if plot.predicts_accuracy else None
    return None if known is None else 100 * known.share


def _mark_other(drawn: Canvas, plot: Plot, row: Row) -> None:
    """Draws an external network: a star, or a line from top to bottom without accuracy."""
    ms, right = row.p95_ms or 0.0, _right(plot, row)
    lines = [row.name, f"p95 {milliseconds(ms)}", f"correct {correct(row)}", *row.notes]
    tip = "\n".join([*lines, *([validity(row)] if row.reasons else [])])
    with drawn.group(OTHER, row.file or ""):
        if right is not None:
            drawn.mark(ms, right, OTHER, tip, bool(row.reasons))
            return
        x, top, bottom = drawn.x.at(ms), drawn.y.end, drawn.y.start
        drawn.rule(x, x, top, bottom, "limit")
        drawn.target(rectangle("halo", x - 0.5, x + 0.5, top, bottom), tip)


def _tip(point: Point, predicts_accuracy: bool) -> list[str]:
    row, bounds = point.row, point.row.interval_ms.get(95)
    measured = f"p95 {milliseconds(point.ms)}"
    measured += f", 95 %: {interval(bounds)}" if bounds else ""
    measured += f", predicted {milliseconds(row.predicted_p95_ms)}" if row.predicted_p95_ms else ""
    lines = (
        row.name,
        f"{row.resolution or UNKNOWN} px, {digits(row.mmacs)} MMACs",
        measured,
        f"{quality_name(predicts_accuracy)} {quality(row, predicts_accuracy)}",
        f"correct {correct(row)}" if row.accuracy else "",
        validity(row) if row.reasons else "",
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
