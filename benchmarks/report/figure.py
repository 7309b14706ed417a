"""A figure of the report: plot, key, note, warnings, and the same as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tofa_edge.benchmarks.report.svg import SERIES, Canvas, marker
from tofa_edge.benchmarks.report.tables import Table
from tofa_edge.benchmarks.result.row import Row
from tofa_edge.benchmarks.result.row_parts import kind_of

ENGINES = ("onnxruntime", "openvino", "tflite", "tensorrt", "ncnn", "mnn", "torch", "reference")
MOST_WARNINGS, FEW = 6, 2


@dataclass(frozen=True, slots=True)
class Figure:
    """What stands in one card of the page."""

    identity: str  # unique in the page
    title: str
    summary: str  # what the plot shows, in one or two sentences
    plot: Canvas
    note: str  # how to read it
    table: Table  # the same figures
    warnings: tuple[str, ...] = ()
    key: str = ""  # HTML
    before: str = ""  # HTML above the plot
    after: str = ""  # HTML below it
    full: bool = True  # whether it takes the whole width
    data: str = ""  # attributes of the plot, for the script

    def html(self, level: int) -> str:
        """Returns the card, its title a heading of a level."""
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        plot = self.plot.drawn(self.identity, self.title, self.summary, self.data)
        return (
            f'<section class="card{" full" * self.full}" id="{self.identity}">'
            f"<h{level}>{escape(self.title)}</h{level}>"
            f'<p class="summary">{escape(self.summary)}</p>{badges(self.warnings)}'
            f"{self.key}{self.before}{plot}{self.after}{note}"
            "<details><summary>The same as a table</summary>"
            f"{self.table.html()}</details></section>"
        )


def badges(warnings: Sequence[str]) -> str:
    """Returns warnings as HTML, beside the figures that they belong to."""
    shown = [*warnings[:MOST_WARNINGS]]
    if len(warnings) > MOST_WARNINGS:
        shown.append(f"{len(warnings) - MOST_WARNINGS} more in the table")
    return "".join(f'<span class="warning">{escape(warning)}</span>' for warning in shown)


def warnings_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Returns why rows failed or are invalid: in full for few rows, in short for many."""
    by_kind: dict[str, list[Row]] = {}
    count = 0
    for row in rows:
        count += 1
        for kind in (row.failed,) if row.failed else row.kinds:
            by_kind.setdefault(kind, []).append(row)
    return tuple(_warning(kind, some, count) for kind, some in by_kind.items())


def _warning(kind: str, rows: Sequence[Row], count: int) -> str:
    if len(rows) > FEW:
        return f"{kind}: {len(rows)} of {count} measurements"
    names = dict.fromkeys(row.name for row in rows)
    reasons = [reason for row in rows for reason in row.reasons if kind_of(reason) == kind]
    return f"{', '.join(names)}: {'; '.join(dict.fromkeys(reasons)) or kind}"


def series(engine: str) -> int:
    """Returns which colour and marker belong to an engine, the same in every report."""
    name = engine.lower()
    for index, known in enumerate(ENGINES):
        if name.startswith(known):
            return index
    return sum(name.encode()) % SERIES


def key(numbers: Mapping[str, int]) -> str:
    """Returns buttons that switch series on and off, by name; empty where there is but one."""
    if len(numbers) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" class="s{number % SERIES}" aria-pressed="true" '
        f'data-key="{escape(name)}"><svg viewBox="0 0 16 16" aria-hidden="true">'
        f"{marker(number, '8', '8')}</svg>{escape(name)}</button>"
        for name, number in numbers.items()
    )
    return f'<div class="key" role="group" aria-label="show or hide">{buttons}</div>'


def engine_key(rows: Iterable[Row]) -> str:
    """Returns the buttons of the engines of rows."""
    names = {row.configuration.engine for row in rows}
    return key({engine: series(engine) for engine in sorted(names)})


def legend(names: Sequence[str]) -> str:
    """Returns what the colours of stacked bars mean, in the order of the stack."""
    shown = "".join(
        f'<span class="s{number % SERIES}"><svg viewBox="0 0 16 16" aria-hidden="true">'
        f'<rect class="bar" x="1" y="2" width="14" height="12" rx="2"/></svg>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<div class="key legend">{shown}</div>'
