"""The front of latency and accuracy: its plot, and what is best within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tofa_edge.benchmarks.report_data import Result, Row
from tofa_edge.benchmarks.report_figure import Figure, key, series
from tofa_edge.benchmarks.report_svg import (
    NARROW,
    WIDE,
    Canvas,
    Size,
    canvas,
    even_range,
    log_range,
)
from tofa_edge.benchmarks.report_tables import doubts, front_table, quality, right
from tofa_edge.benchmarks.report_words import (
    UNKNOWN,
    digits,
    interval,
    milliseconds,
)

ROUND = (1, 2, 5)
BUDGETS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """A network of a front: latency in milliseconds, quality in per cent or MMACs."""

    row: Row
    ms: float
    quality: float


def points(result: Result, rows: Sequence[Row]) -> list[Point]:
    """Returns what can be drawn of a front, quickest first."""
    found = []
    for row in rows:
        accuracy = row.expected_accuracy
        value = row.mmacs if not result.predicts_accuracy else accuracy and 100 * accuracy
        if row.p95_ms and value is not None:
            found.append(Point(row, row.p95_ms, value))
    return sorted(found, key=lambda point: point.ms)


def best_within(front: Sequence[Point], budget_ms: float) -> Point | None:
    """Returns the best network whose measured p95 keeps a budget; the quicker of equals."""
    within = [point for point in front if point.ms <= budget_ms]
    return max(within, key=lambda point: (point.quality, -point.ms), default=None)


def budgets(front: Sequence[Point]) -> list[float]:
    """Returns round budgets in milliseconds across a front, up to the first that allows all."""
    if not front:
        return []
    low, high = front[0].ms, front[-1].ms
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    values = [step * 10.0**decade for decade in range(first, last + 1) for step in ROUND]
    found = [value for value in values if low <= value < high]
    found += [next(value for value in values if value >= high)]
    return found[-BUDGETS:]


def headline_budget(front: Sequence[Point]) -> float:
    """Returns a round budget in the middle of a front."""
    found = budgets(front)
    middle = math.sqrt(front[0].ms * front[-1].ms)
    return next((value for value in found if value >= middle), found[-1])


def quality_name(result: Result) -> str:
    """Returns what a front calls better."""
    return "expected accuracy" if result.predicts_accuracy else "size of the network"


def said_of(result: Result, point: Point) -> str:
    """Returns a network in one clause: quality, latency, engine."""
    shown = quality(point.row, result.predicts_accuracy)
    return f"{shown} at {milliseconds(point.ms)} on {point.row.configuration}"


def front_figure(result: Result, identity: str) -> Figure | None:
    """Returns the plot of a front; None where there is none."""
    front, lower = points(result, result.front), points(result, result.lower)
    if not front:
        return None
    budget = headline_budget(front)
    best = best_within(front, budget)
    title = "Latency and accuracy" if result.predicts_accuracy else "Latency and size"
    said = f"{len(front)} networks, measured from {milliseconds(front[0].ms)} to "
    said += f"{milliseconds(front[-1].ms)} at p95."
    if best is not None:
        said += f" Best within {milliseconds(budget)}: {said_of(result, best)}."
    drawn = "".join(
        _drawn(result, front, lower, size).drawn(identity, title, said, _scale(size, front, lower))
        for size in (WIDE, NARROW)
    )
    note = "The line joins the networks that no quicker one beats. Whiskers: 95 % of p95."
    if lower:
        note += " Dashed: the largest network at lower resolutions."
    return Figure(
        identity,
        title,
        said,
        _controls(identity, front, budget, "" if best is None else said_of(result, best)) + drawn,
        key(sorted({(p.row.engine) for p in (*front, *lower)})),
        note,
        front_table(result, quality_name(result)),
    )


def _controls(identity: str, front: Sequence[Point], budget: float, said: str) -> str:
    low, high = math.log10(front[0].ms), math.log10(front[-1].ms * 1.05)
    return (
        f'<div class="budget"><label for="{identity}-budget">Budget for p95 '
        f'<input class="amount" id="{identity}-amount" type="number" min="0" step="any" '
        f'value="{budget:.6g}" aria-label="budget in milliseconds" inputmode="decimal"> ms</label>'
        f'<input id="{identity}-budget" type="range" min="{low:.4f}" max="{high:.4f}" '
        f'step="0.005" value="{math.log10(budget):.4f}" aria-label="budget, logarithmic">'
        f'<output for="{identity}-budget {identity}-amount" aria-live="polite">'
        f"{escape(said) or 'nothing is so quick'}</output></div>"
    )


def _ranges(front: Sequence[Point], lower: Sequence[Point]) -> tuple[tuple[float, float], ...]:
    every = (*front, *lower)
    return log_range([p.ms for p in every]), even_range([p.quality for p in every])


def _scale(size: Size, front: Sequence[Point], lower: Sequence[Point]) -> str:
    """Returns where budgets lie, for the script that moves the line."""
    x, y = _ranges(front, lower)
    axis = canvas(size, x, y, (True, False)).x
    return (
        f'data-low="{axis.low:.6g}" data-high="{axis.high:.6g}" '
        f'data-start="{axis.start:.1f}" data-end="{axis.end:.1f}"'
    )


def _drawn(result: Result, front: Sequence[Point], lower: Sequence[Point], size: Size) -> Canvas:
    x, y = _ranges(front, lower)
    made = canvas(size, x, y, (True, False))
    unit = "expected accuracy, %" if result.predicts_accuracy else "size, MMACs"
    made.frame("measured p95, ms", unit)
    budget = made.x.at(headline_budget(front))
    top, bottom = made.y.end, made.y.start
    made.parts.append(
        f'<rect class="beyond" x="{budget:.1f}" y="{top:.1f}" height="{bottom - top:.1f}" '
        f'width="{max(0.0, made.x.end - budget):.1f}"/>'
        f'<path class="limit" d="M0 {top:.1f}V{bottom:.1f}" transform="translate({budget:.1f} 0)"/>'
    )
    if len(lower) > 1:
        made.line([(p.ms, p.quality) for p in lower], "line dashed other")
    made.line(_stairs(front), "line stairs")
    best = best_within(front, headline_budget(front))
    for engine in sorted({p.row.engine for p in (*front, *lower)}):
        made.begin(series(engine), engine)
        for point in (*lower, *front):
            if point.row.engine == engine:
                _mark(made, result, point, point is best)
        made.end()
    return made


def _mark(made: Canvas, result: Result, point: Point, best: bool) -> None:
    row = point.row
    bounds = row.interval_ms.get(95)
    if bounds is not None:
        made.line([(bounds[0], point.quality), (bounds[1], point.quality)], "whisker")
    said = "\n".join(
        line
        for line in (
            row.configuration,
            f"{row.resolution or UNKNOWN} px, {digits(row.mmacs)} MMACs",
            f"p95 {milliseconds(point.ms)}"
            + (f", 95 %: {interval(bounds, 'ms')}" if bounds else "")
            + (f", predicted {milliseconds(row.predicted_p95_ms)}" if row.predicted_p95_ms else ""),
            f"{quality_name(result)} {quality(row, result.predicts_accuracy)}",
            f"right: {right(row)}" if row.accuracy else "",
            f"doubtful: {doubts(row)}" if row.reasons else "",
            "" if row.role == "front" else row.role,
        )
        if line
    )
    extra = ""
    if row.role == "front":
        extra = (
            f'data-ms="{point.ms:.6g}" data-quality="{point.quality:.6g}" '
            f'data-said="{escape(said_of(result, point))}"' + (" data-best" if best else "")
        )
    made.mark((point.ms, point.quality), series(row.engine), said, bool(row.reasons), extra)


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
