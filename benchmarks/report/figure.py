"""A figure of the report: plot, key, note, doubts, and the same as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tofa_edge.benchmarks.report.data import ResultRow, kind_of
from tofa_edge.benchmarks.report.svg import SERIES, marker
from tofa_edge.benchmarks.report.tables import Table

ENGINES = ("onnxruntime", "openvino", "tflite", "tensorrt", "ncnn", "mnn", "torch", "reference")
MOST_DOUBTS, FEW = 6, 2


@dataclass(frozen=True, slots=True)
class Figure:
    """What stands in one card of the page.

    Attributes:
        identity: unique in the page.
        title: of the card.
        said: what the plot shows, in one or two sentences.
        drawn: HTML.
        key: HTML; empty for none.
        note: how to read it.
        table: the same figures.
        doubts: what makes figures doubtful, in words.
        full: whether it takes the whole width.
    """

    identity: str
    title: str
    said: str
    drawn: str
    key: str
    note: str
    table: Table
    reasons: tuple[str, ...] = ()
    full: bool = False

    def html(self, level: int) -> str:
        """Returns the card, its title a heading of a level."""
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<section class="card{" full" * self.full}" id="{self.identity}">'
            f"<h{level}>{escape(self.title)}</h{level}>"
            f'<p class="said">{escape(self.said)}</p>{badges(self.reasons)}'
            f"{self.key}{self.drawn}{note}"
            "<details><summary>The same as a table</summary>"
            f"{self.table.html()}</details></section>"
        )


def badges(words: Sequence[str]) -> str:
    """Returns doubts as HTML, beside the figures that they belong to."""
    shown = [*words[:MOST_DOUBTS]]
    if len(words) > MOST_DOUBTS:
        shown.append(f"{len(words) - MOST_DOUBTS} more in the table")
    return "".join(f'<span class="doubt">{escape(word)}</span>' for word in shown)


def doubted(rows: Iterable[ResultRow]) -> tuple[str, ...]:
    """Returns what makes rows doubtful, and which; what few rows have in full, what many short."""
    found: dict[str, list[ResultRow]] = {}
    count = 0
    for row in rows:
        count += 1
        for kind in (row.failed,) if row.failed else row.kinds:
            found.setdefault(kind, []).append(row)
    return tuple(_doubt(kind, some, count) for kind, some in found.items())


def _doubt(kind: str, rows: Sequence[ResultRow], count: int) -> str:
    names = list(dict.fromkeys(row.configuration for row in rows))
    if len(rows) > FEW:
        return f"{kind}: {len(rows)} of {count} measurements"
    reasons = [reason for row in rows for reason in row.reasons if kind_of(reason) == kind]
    return f"{', '.join(names)}: {'; '.join(dict.fromkeys(reasons)) or kind}"


def series(engine: str) -> int:
    """Returns which colour and marker belong to an engine, the same in every report."""
    name = engine.lower()
    for index, known in enumerate(ENGINES):
        if name.startswith(known):
            return index
    return sum(name.encode()) % SERIES


def key(names: Sequence[str], numbers: Mapping[str, int] | None = None) -> str:
    """Returns buttons that switch series on and off; empty where there is but one."""
    if len(names) < 2:
        return ""
    found = ""
    for name in names:
        number = series(name) if numbers is None else numbers[name]
        found += (
            f'<button type="button" class="s{number % SERIES}" aria-pressed="true" '
            f'data-key="{escape(name)}"><svg viewBox="0 0 16 16" aria-hidden="true">'
            f'<path class="mark" d="{marker(number, 8, 8)}"/></svg>{escape(name)}</button>'
        )
    return f'<div class="key" role="group" aria-label="show or hide">{found}</div>'


def legend(names: Sequence[str]) -> str:
    """Returns what the colours of stacked bars mean, in the order of the stack."""
    shown = "".join(
        f'<span class="s{number % SERIES}"><svg viewBox="0 0 16 16" aria-hidden="true">'
        f'<rect class="bar" x="1" y="2" width="14" height="12" rx="2"/></svg>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<div class="key legend">{shown}</div>'
