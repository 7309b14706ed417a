"""A figure of the report: plot, key, note, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tofa_edge.benchmarks.report_svg import SERIES, marker
from tofa_edge.benchmarks.report_tables import Table

ENGINES = ("onnxruntime", "openvino", "tflite", "tensorrt", "ncnn", "mnn", "torch", "reference")


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
    """

    identity: str
    title: str
    said: str
    drawn: str
    key: str
    note: str
    table: Table

    def html(self) -> str:
        """Returns the card."""
        name = f"{self.identity}-h"
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<section class="card" id="{self.identity}" aria-labelledby="{name}">'
            f'<h3 id="{name}">{escape(self.title)}</h3><p class="said">{escape(self.said)}</p>'
            f"{self.key}{self.drawn}{note}"
            "<details><summary>The same as a table</summary>"
            f"{self.table.html()}</details></section>"
        )


def series(engine: str) -> int:
    """Returns which colour and marker belong to an engine, the same in every report."""
    name = engine.lower()
    for index, known in enumerate(ENGINES):
        if name.startswith(known):
            return index
    return sum(name.encode()) % SERIES


def key(engines: Sequence[str], numbers: Mapping[str, int] | None = None) -> str:
    """Returns buttons that switch series on and off; empty where there is but one."""
    if len(engines) < 2:
        return ""
    found = ""
    for name in engines:
        number = series(name) if numbers is None else numbers[name]
        found += (
            f'<button type="button" class="s{number % SERIES}" aria-pressed="true" '
            f'data-key="{escape(name)}"><svg viewBox="0 0 16 16" aria-hidden="true">'
            f'<path class="mark" d="{marker(number, 8, 8)}"/></svg>{escape(name)}</button>'
        )
    return f'<div class="key" role="group" aria-label="show or hide">{found}</div>'
