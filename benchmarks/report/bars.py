"""Bars of the report: what a cold start is made of, and what each layer costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tofa_edge.benchmarks.report.figure import Figure, legend, series, warnings_of
from tofa_edge.benchmarks.report.svg import SERIES, Axis, Canvas, canvas, rectangle, rows_canvas
from tofa_edge.benchmarks.report.tables import Table
from tofa_edge.benchmarks.report.words import digits, percent, plain, with_unit
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.row import Row
from tofa_edge.benchmarks.result.row_parts import COLD_START, LayerCost, kind_of

MOST_ROWS = 12
MOST_LAYERS = 400
LAYERS_PX = 260  # high
NAMED = 3  # of the layers that cost most
Start = tuple[str, Mapping[str, float]]


def cold_start_figure(result: BenchResult, identity: str) -> Figure | None:
    """Returns stacked bars of the time to the first prediction; None where it is not known."""
    starts: list[Start] = [
        (row.name, row.cold_start.parts) for row in result.middle if row.cold_start
    ]
    if not starts:
        return None
    starts.sort(key=lambda start: sum(start[1].values()))
    parts = [name for name in COLD_START if any(name in seconds for _, seconds in starts)]
    shown = starts[:MOST_ROWS]
    fastest, seconds = shown[0]
    note = "Medians over new processes; files are in the page cache, as after the first start."
    if len(starts) > len(shown):
        note += f" The table has {len(starts) - len(shown)} more, slower."
    return Figure(
        identity,
        title="Cold start",
        summary="From a new process to the first prediction. "
        f"Fastest: {fastest}, {with_unit(sum(seconds.values()), 's')}.",
        plot=_stacked(shown, parts),
        note=note,
        table=_start_table(starts, parts),
        warnings=warnings_of(row for row in result.middle if row.cold_start),
        key=legend([part.replace("_", " ") for part in parts]),
        full=False,
    )


def _start_table(starts: Sequence[Start], parts: Sequence[str]) -> Table:
    columns = ("engine", *(part.replace("_", " ") for part in parts), "sum")
    rows = tuple(
        (name, *(with_unit(s, "s") for s in (*map(seconds.get, parts), sum(seconds.values()))))
        for name, seconds in starts
    )
    return Table("Cold start", columns, rows)


def _stacked(starts: Sequence[Start], parts: Sequence[str]) -> Canvas:
    most = max(sum(seconds.values()) for _, seconds in starts) or 1.0
    plot = rows_canvas(len(starts), Axis(0, most * 1.02), "seconds")
    for index, (name, seconds) in enumerate(starts):
        top, total, before = plot.y.at(index), sum(seconds.values()), 0.0
        plot.text(0, top + 14, name, kind="name")
        plot.text(100, top + 14, with_unit(total, "s"), "end", "strong")
        for number, part in enumerate(parts):
            spent = seconds.get(part, 0.0)
            if spent:
                tip = f"{name}\n{part.replace('_', ' ')} {with_unit(spent, 's')}"
                tip += f", {percent(spent / total)} of {with_unit(total, 's')}"
                ends = plot.x.at(before), plot.x.at(before + spent)
                plot.target(rectangle(f"bar s{number % SERIES}", *ends, top + 19, top + 34), tip)
            before += spent
    return plot


def layer_figures(result: BenchResult, identity: str) -> list[Figure]:
    """Returns what each layer costs, for the fastest configuration of each engine."""
    fastest: dict[str, Row] = {}
    rows = result.middle if any(row.layers for row in result.middle) else result.chosen
    for row in sorted(rows, key=lambda row: row.p95_ms or float("inf")):
        if row.layers:
            fastest.setdefault(row.configuration.engine, row)
    return [
        _layer_figure(row, f"{identity}-{number}") for number, row in enumerate(fastest.values())
    ]


def _layer_figure(row: Row, identity: str) -> Figure:
    layers = row.layers[:MOST_LAYERS]
    total = sum(layer.ms for layer in layers)
    slowest = sorted(layers, key=lambda layer: -layer.ms)[:NAMED]
    how = f", {kind_of(row.layers_how)}" if row.layers_how else ""
    title = f"Cost of each layer: {row.name}{how}"
    cells = tuple(
        (
            layer.name,
            digits(layer.mmacs),
            with_unit(layer.ms, "ms"),
            percent(layer.ms / total if total else None),
        )
        for layer in layers
    )
    return Figure(
        identity,
        title=title,
        summary=f"{len(layers)} layers, {with_unit(total, 'ms')} together. Most: "
        + "; ".join(f"{layer.name} {with_unit(layer.ms, 'ms')}" for layer in slowest)
        + ".",
        plot=_columns(row, layers),
        note="; ".join(("In the order they run", *filter(None, [row.layers_how]))),
        table=Table(title, ("layer", "MMACs", "time", "share"), cells),
        warnings=warnings_of([row]),
    )


def _columns(row: Row, layers: Sequence[LayerCost]) -> Canvas:
    most, number = max(layer.ms for layer in layers) or 1.0, series(row.configuration.engine)
    plot = canvas(LAYERS_PX, Axis(0.5, len(layers) + 0.5), (0, most * 1.05))
    ticks = [(at, plain(at)) for at in plot.x.ticks(6) if at == int(at)]
    plot.frame("layer, first to last", "ms", ticks)
    with plot.group(number, row.configuration.engine):
        for index, layer in enumerate(layers, 1):
            left, right, bottom = plot.x.at(index - 0.42), plot.x.at(index + 0.42), plot.y.start
            plot.target(
                rectangle(f"bar s{number % SERIES}", left, right, plot.y.at(layer.ms), bottom)
                + rectangle("halo", left, right, plot.y.end, bottom),
                f"{layer.name}\n{with_unit(layer.ms, 'ms')}, {with_unit(layer.mmacs, 'MMACs')}",
            )
    return plot
