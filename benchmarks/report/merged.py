"""Several results on one page: their fronts in one plot, and a table of engines and devices."""

from __future__ import annotations

from collections.abc import Sequence

from tofa_edge.benchmarks.report.budgets import (
    Group,
    Plot,
    best_within,
    headline_budget,
    points,
    quality_name,
)
from tofa_edge.benchmarks.report.figure import Figure
from tofa_edge.benchmarks.report.front import front_figure
from tofa_edge.benchmarks.report.remarks import remarks
from tofa_edge.benchmarks.report.tables import Table, quality, validity
from tofa_edge.benchmarks.report.words import UNKNOWN, milliseconds, plain
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.row import Row


def names(results: Sequence[BenchResult]) -> list[str]:
    """Returns a name for each result, all different: its device, with bundle, date, file."""
    devices = [result.device_name for result in results]
    for more in ([r.bundle.name for r in results], [r.date for r in results]):
        devices = [
            f"{name}, {word}" if devices.count(name) > 1 else name
            for name, word in zip(devices, more, strict=True)
        ]
    return [
        f"{name} ({devices[:index].count(name) + 1})" if devices.count(name) > 1 else name
        for index, name in enumerate(devices)
    ]


def merged_plot(results: Sequence[BenchResult]) -> Plot:
    """Returns the fronts of all results, a group for each."""
    predicts = all(result.predicts_accuracy for result in results if result.chosen)
    groups = tuple(
        Group(name, number, points(result.chosen, predicts), points(result.lower, predicts))
        for number, (name, result) in enumerate(zip(names(results), results, strict=True))
        if result.chosen
    )
    return Plot(groups, predicts, joined=False)


def merged_figure(results: Sequence[BenchResult]) -> Figure | None:
    """Returns the fronts of all results in one plot; None where none has one."""
    plot = merged_plot(results)
    return front_figure(plot, "fronts", _fronts_table(plot), None)


def _fronts_table(plot: Plot) -> Table:
    """Returns every network that the plot of fronts shows."""
    better = quality_name(plot.predicts_accuracy)
    rows = tuple(
        (
            group.name,
            point.row.name,
            point.row.role,
            quality(point.row, plot.predicts_accuracy),
            milliseconds(point.ms),
            validity(point.row),
        )
        for group in plot.groups
        for point in (*group.points, *group.lower)
    )
    return Table("Fronts", ("device", "engine", "network", better, "p95", "validity"), rows)


def overview_table(results: Sequence[BenchResult]) -> Table:
    """Returns what is best on each device, within one budget for all."""
    plot = merged_plot(results)
    budget = headline_budget(plot.front) if plot.front else 0.0
    groups = {group.name: group for group in plot.groups}
    rows = []
    for name, result in zip(names(results), results, strict=True):
        front = groups[name].points if name in groups else ()
        best = best_within(front, budget)
        best = best or (front[0] if front else None)
        if best is None:
            rows.append(
                (name, result.bundle.name, UNKNOWN, UNKNOWN, UNKNOWN, "no front was measured")
            )
            continue
        words = ["over the budget"] * (best.ms > budget)
        words += [f"invalid: {', '.join(best.row.reasons)}"] * bool(best.row.reasons)
        said = ", ".join((*words, *remarks(result))) or "none"
        shown = quality(best.row, plot.predicts_accuracy)
        rows.append(
            (
                name,
                result.bundle.name,
                shown,
                milliseconds(best.ms),
                best.row.configuration.words,
                said,
            )
        )
    better = quality_name(plot.predicts_accuracy)
    title = f"Best within {plain(budget)} ms on each device" if budget else "Devices"
    return Table(title, ("device", "bundle", better, "p95", "on", "remarks"), tuple(rows))


def engine_device_table(results: Sequence[BenchResult]) -> Table:
    """Returns p95 of one network by engine and device: the fastest number of threads."""
    columns = [_by_engine(result) for result in results]
    engines = sorted({engine for column in columns for engine in column})
    rows = tuple((engine, *(_cell(column.get(engine)) for column in columns)) for engine in engines)
    title = "Engines on devices: p95 of one network, the fastest number of threads"
    return Table(title, ("engine", *names(results)), rows)


def _by_engine(result: BenchResult) -> dict[str, Row]:
    fastest: dict[str, Row] = {}
    for row in sorted(result.middle, key=lambda row: row.p95_ms or float("inf")):
        ran = row.configuration
        fastest.setdefault(f"{ran.engine} {ran.precision}", row)
    return fastest


def _cell(row: Row | None) -> str:
    if row is None:
        return "untested"
    if row.p95_ms is None:
        return row.failed or validity(row)
    return milliseconds(row.p95_ms) + (f" ({validity(row)})" if row.reasons else "")
