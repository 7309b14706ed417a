"""Bars of the report: what a cold start is made of, and what each layer costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tofa_edge.benchmarks.report.data import (
    COLD_START,
    OLD_COLD_START,
    Layer,
    Result,
    ResultRow,
    kind_of,
)
from tofa_edge.benchmarks.report.figure import Figure, doubted, legend, series
from tofa_edge.benchmarks.report.svg import HALVES, SIZES, Axis, Canvas, Size, canvas
from tofa_edge.benchmarks.report.tables import Table
from tofa_edge.benchmarks.report.words import UNKNOWN, digits, percent, with_unit

MOST_ROWS = 12
MOST_LAYERS = 400
ROW_PX = 40
LAYERS_PX = 260  # high
NAMED = 3  # of the layers that cost most
Start = tuple[str, Mapping[str, float]]


def cold_start_figure(result: Result, identity: str) -> Figure | None:
    """Returns stacked bars of the time to the first prediction; None where it is not known."""
    starts: list[Start] = [
        (row.configuration, row.cold_start_s) for row in result.engines if row.cold_start_s
    ]
    names: tuple[str, ...] = COLD_START
    if not starts and result.cold_start_s:
        starts, names = [("a whole deployment", result.cold_start_s)], OLD_COLD_START
    if not starts:
        return None
    starts.sort(key=lambda start: sum(start[1].values()))
    used = [name for name in names if any(name in parts for _, parts in starts)]
    shown = starts[:MOST_ROWS]
    first = f"{shown[0][0]}, {with_unit(sum(shown[0][1].values()), 's')}"
    said = f"From a new process to the first prediction. Quickest: {first}."
    title = "Cold start"
    height = 30 + ROW_PX * len(shown) + 52
    drawn = "".join(
        _stacked(shown, used, Size(size.name, size.width, height)).drawn(identity, title, said)
        for size in HALVES
    )
    columns = ("engine", *(name.replace("_", " ") for name in used), "sum")
    rows = tuple(
        (
            name,
            *(with_unit(parts.get(part), "s") for part in used),
            with_unit(sum(parts.values()), "s"),
        )
        for name, parts in starts
    )
    note = "Medians over new processes; files are in the page cache, as after the first start."
    if len(starts) > len(shown):
        note += f" The table has {len(starts) - len(shown)} more, slower."
    key = legend([name.replace("_", " ") for name in used])
    failed = doubted(row for row in result.engines if row.cold_start_s)
    return Figure(identity, title, said, drawn, key, note, Table(title, columns, rows), failed)


def _stacked(starts: Sequence[Start], names: Sequence[str], size: Size) -> Canvas:
    most = max(sum(parts.values()) for _, parts in starts) or 1.0
    made = canvas(size, (0, most * 1.02), (0, 1), left=6)
    made.y = Axis(0, len(starts), 30, 30 + ROW_PX * len(starts))
    made.columns("seconds", (30, 30 + ROW_PX * len(starts)))
    for index, (name, parts) in enumerate(starts):
        total = sum(parts.values())
        made.text(made.x.start, made.y.at(index) + 13, name, "start", "name")
        made.text(made.x.end, made.y.at(index) + 13, with_unit(total, "s"), "end", "strong")
        before = 0.0
        for number, part in enumerate(names):
            spent = parts.get(part, 0.0)
            if spent:
                said = f"{name}\n{part.replace('_', ' ')} {with_unit(spent, 's')}"
                said += f", {percent(spent / total)} of {with_unit(total, 's')}"
                y = made.y.at(index) + 18
                made.bar(number, (made.x.at(before), made.x.at(before + spent)), (y, y + 15), said)
            before += spent
    return made


def layer_figures(result: Result, identity: str) -> list[Figure]:
    """Returns what each layer costs, for the quickest configuration of each engine."""
    found: dict[str, ResultRow] = {}
    rows = result.engines if any(row.layers for row in result.engines) else result.front
    for row in sorted(rows, key=lambda row: row.p95_ms or float("inf")):
        if row.layers:
            found.setdefault(row.engine, row)
    return [_layer_figure(row, f"{identity}-{number}") for number, row in enumerate(found.values())]


def _layer_figure(row: ResultRow, identity: str) -> Figure:
    layers = row.layers[:MOST_LAYERS]
    total = sum(layer.ms for layer in layers)
    dearest = sorted(layers, key=lambda layer: -layer.ms)[:NAMED]
    how = f", {kind_of(row.layers_how)}" if row.layers_how else ""
    title = f"Cost of each layer: {row.configuration}{how}"
    said = f"{len(layers)} layers, {with_unit(total, 'ms')} together. Most: " + "; ".join(
        f"{layer.name} {with_unit(layer.ms, 'ms')}" for layer in dearest
    )
    drawn = "".join(
        _columns(row, layers, replace(size, height=LAYERS_PX)).drawn(identity, title, f"{said}.")
        for size in SIZES
    )
    cells = tuple(
        (
            layer.name,
            UNKNOWN if layer.mmacs is None else digits(layer.mmacs),
            with_unit(layer.ms, "ms"),
            percent(layer.ms / total if total else None),
        )
        for layer in layers
    )
    table = Table(title, ("layer", "MMACs", "time", "share"), cells)
    note = f"In the order they run. {row.layers_how or ''}".strip()
    return Figure(
        identity, title, f"{said}.", drawn, "", note, table,
        doubted([row]), full=True,
    )  # fmt: skip


def _columns(row: ResultRow, layers: Sequence[Layer], size: Size) -> Canvas:
    most = max(layer.ms for layer in layers) or 1.0
    made = canvas(size, (0, len(layers)), (0, most * 1.05))
    step = max(1, round(len(layers) / (made.x.end - made.x.start) * 60))
    nice = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200) if n >= step or n == 200)
    ticks = [(n - 0.5, str(n)) for n in range(nice, len(layers) + 1, nice)]
    made.frame("layer, first to last", "ms", ticks, upright=False)
    width = (made.x.end - made.x.start) / len(layers)
    gap = min(2.0, width / 4)
    made.begin(series(row.engine), row.engine)
    for index, layer in enumerate(layers):
        left = made.x.at(index)
        said = f"{layer.name}\n{with_unit(layer.ms, 'ms')}, {with_unit(layer.mmacs, 'MMACs')}"
        made.bar(
            series(row.engine),
            (left + gap / 2, left + width - gap / 2),
            (made.y.at(layer.ms), made.y.start),
            said,
            reach=made.y.end,
        )
    made.end()
    return made
