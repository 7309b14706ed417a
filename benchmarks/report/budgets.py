"""What is best within a budget: the points of a front, before they are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tofa_edge.benchmarks.report.figure import series
from tofa_edge.benchmarks.report.tables import quality
from tofa_edge.benchmarks.report.words import milliseconds, plain
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.row import Row

ROUND = (1, 2, 5)
BUDGETS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """A network of a front."""

    row: Row
    ms: float  # p95
    quality: float  # expected accuracy in per cent, or MMACs


@dataclass(frozen=True, slots=True)
class Group:
    """Points that are one series: those of an engine, or of a device."""

    name: str
    number: int  # of its colour and marker
    points: tuple[Point, ...]  # of a front, fastest first
    lower: tuple[Point, ...] = ()  # the largest network at lower resolutions


@dataclass(frozen=True, slots=True)
class Plot:
    """What the plot of fronts is drawn from."""

    groups: tuple[Group, ...]
    predicts_accuracy: bool  # else quality is the size in MMACs
    joined: bool  # whether all groups share one line
    against: tuple[Row, ...] = ()  # external networks, measured

    @property
    def front(self) -> list[Point]:
        """Returns the points of all groups, fastest first."""
        return sorted((p for group in self.groups for p in group.points), key=lambda p: p.ms)

    @property
    def lower(self) -> list[Point]:
        """Returns the largest network at lower resolutions, fastest first."""
        return sorted((p for group in self.groups for p in group.lower), key=lambda p: p.ms)


def points(rows: Sequence[Row], predicts_accuracy: bool) -> tuple[Point, ...]:
    """Returns what can be drawn of a front, fastest first."""
    drawable = []
    for row in rows:
        value = row.mmacs
        if predicts_accuracy:
            accuracy = row.expected_accuracy
            value = None if accuracy is None or accuracy > 1 else 100 * accuracy
        if row.p95_ms and value is not None:
            drawable.append(Point(row, row.p95_ms, value))
    return tuple(sorted(drawable, key=lambda point: point.ms))


def best_within(front: Sequence[Point], budget_ms: float) -> Point | None:
    """Returns the best network whose measured p95 keeps a budget; the faster of equals."""
    within = [point for point in front if point.ms <= budget_ms]
    return max(within, key=lambda point: (point.quality, -point.ms), default=None)


def budgets(front: Sequence[Point]) -> list[float]:
    """Returns round budgets in milliseconds across a front, up to the first that allows all."""
    if not front:
        return []
    low, high = front[0].ms, front[-1].ms
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    values = [float(f"{step}e{decade}") for decade in range(first, last + 1) for step in ROUND]
    within = [value for value in values if low <= value < high]
    return [*within, next(value for value in values if value >= high)][-BUDGETS:]


def headline_budget(front: Sequence[Point]) -> float:
    """Returns a round budget in the middle of a front."""
    choices = budgets(front)
    middle = math.sqrt(front[0].ms * front[-1].ms)
    return next((value for value in choices if value >= middle), choices[-1])


def headline(result: BenchResult) -> tuple[str, str]:
    """Returns the budget's clause, and the best network within it.

    Without a front it is the fastest engine; both are empty where nothing was measured.
    """
    front = points(result.chosen, result.predicts_accuracy)
    if not front:
        rows = [row for row in result.middle if row.p95_ms]
        fastest = min(rows, key=lambda row: row.p95_ms or 0, default=None)
        if fastest is None:
            return "", ""
        return "Fastest engine", f"p95 {milliseconds(fastest.p95_ms)} on {_named(fastest)}"
    budget = headline_budget(front)
    best = best_within(front, budget)
    words = "" if best is None else point_summary(best, result.predicts_accuracy)
    return f"Best within {plain(budget)} ms", words


def quality_name(predicts_accuracy: bool) -> str:
    """Returns what a front calls better."""
    return "expected accuracy" if predicts_accuracy else "size of the network"


def point_summary(point: Point, predicts_accuracy: bool) -> str:
    """Returns a network in one clause: quality, latency, engine, why it is invalid."""
    shown = quality(point.row, predicts_accuracy)
    return f"{shown} at {milliseconds(point.ms)} on {_named(point.row)}"


def _named(row: Row) -> str:
    reasons = f" (invalid: {', '.join(row.kinds)})" if row.reasons else ""
    return row.name + reasons


def engine_plot(result: BenchResult) -> Plot:
    """Returns the front of one result, a group for each engine."""
    front = points(result.chosen, result.predicts_accuracy)
    lower = points(result.lower, result.predicts_accuracy)
    engines = sorted({point.row.configuration.engine for point in (*front, *lower)})
    groups = tuple(
        Group(
            engine,
            series(engine),
            tuple(p for p in front if p.row.configuration.engine == engine),
            tuple(p for p in lower if p.row.configuration.engine == engine),
        )
        for engine in engines
    )
    others = tuple(row for row in result.against if row.latency)
    return Plot(groups, result.predicts_accuracy, joined=True, against=others)
