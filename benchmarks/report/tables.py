"""Tables of the report, and how they are written: HTML, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import compress

from tofa_edge.benchmarks.report.data import Result, ResultRow, Scenario
from tofa_edge.benchmarks.report.words import (
    UNKNOWN,
    digits,
    interval,
    megabytes,
    milliseconds,
    percent,
    with_unit,
)

Cells = tuple[str, ...]
LONG = 28  # characters, from which a cell has several lines
LONG_CELL = '<span class="long">{}</span>'
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows, as many cells as columns in each; the first column names a row."""

    title: str
    columns: Cells
    rows: tuple[Cells, ...]

    def html(self) -> str:
        """Returns it as HTML, in a box that scrolls by itself where the screen is narrow."""
        kinds = [_kind([row[index] for row in self.rows]) for index in range(len(self.columns))]
        named = zip(kinds, self.columns, strict=True)
        head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in named)
        body = "".join(f"<tr>{_html_row(row, kinds)}</tr>" for row in self.rows)
        title = escape(self.title)
        return (
            f'<div class="scroll" tabindex="0" role="group" aria-label="{title}"><table>'
            f"<caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
            "</table></div>"
        )

    def markdown(self) -> str:
        """Returns it as Markdown."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        shown = ["| " + " | ".join(map(markdown_text, line)) + " |" for line in lines]
        return f"### {markdown_text(self.title)}\n\n" + "\n".join(shown) + "\n"


def markdown_text(words: str) -> str:
    """Returns text that Markdown shows as it is."""
    shown = escape(words, quote=False).replace("\\", "\\\\")
    for sign in "|`*_[]!#":
        shown = shown.replace(sign, f"\\{sign}")
    return shown.replace("\n", " ")


def engine_table(result: Result, largest: bool = False) -> Table:
    """Returns one network on every engine: what it costs."""
    title = "The largest network on the engines" if largest else "Engines side by side"
    rows = result.largest if largest else result.engines
    columns = ("engine", "px", "MMACs", "p50", "p95", "95 % interval of p95", "p99", "runs",
               "images/s", "memory", "file", "energy/image", "correct", "same class",
               "validity")  # fmt: skip
    return _without_unknown(title, columns, map(_engine_cells, rows))


def _engine_cells(row: ResultRow) -> Cells:
    return (
        row.configuration,
        UNKNOWN if row.resolution is None else str(row.resolution),
        digits(row.mmacs),
        *(milliseconds(row.latency_ms.get(p)) for p in (50, 95)),
        interval(row.interval_ms.get(95)),
        milliseconds(row.latency_ms.get(99)),
        UNKNOWN if row.count is None else f"{row.count}",
        digits(max(row.images_per_s.values(), default=None)),
        megabytes(row.peak_memory_bytes),
        megabytes(row.artefact_bytes),
        with_unit(None if row.joules_per_image is None else 1e3 * row.joules_per_image, "mJ"),
        UNKNOWN if row.accuracy is None else percent(row.accuracy.share),
        percent(row.same_class),
        validity(row),
    )


def front_table(result: Result, name: str) -> Table:
    """Returns the networks of the front; name is what the accuracy is called."""
    columns = ("engine", "px", "MMACs", name, "correct on labelled photos", "predicted p95",
               "measured p95", "95 % interval", "p50", "validity")  # fmt: skip
    rows = sorted((*result.front, *result.lower), key=lambda row: row.p95_ms or 0)
    return _without_unknown(
        "The front of latency and accuracy",
        columns,
        ((
            row.configuration + ("" if row.role == "front" else f" ({row.role})"),
            UNKNOWN if row.resolution is None else str(row.resolution),
            digits(row.mmacs),
            quality(row, result.predicts_accuracy),
            correct(row),
            milliseconds(row.predicted_p95_ms),
            milliseconds(row.p95_ms),
            interval(row.interval_ms.get(95)),
            milliseconds(row.latency_ms.get(50)),
            validity(row),
        ) for row in rows),
    )  # fmt: skip


def per_second(row: ResultRow) -> str:
    """Returns the best throughput as a clause; empty where it is not known."""
    if not row.images_per_s:
        return ""
    batch = max(row.images_per_s, key=lambda batch: row.images_per_s[batch])
    return f", {digits(row.images_per_s[batch])} images/s in batches of {batch}"


def scenario_table(result: Result) -> Table:
    """Returns the MLPerf scenarios."""
    rows = tuple(
        (
            f"{item.scenario}, {item.configuration}",
            UNKNOWN if item.queries is None else f"{item.queries:,}",
            milliseconds(item.p90_ms),
            digits(item.images_per_s),
            validity(item),
        )
        for item in result.scenarios
    )
    columns = ("scenario", "queries", "p90", "images/s", "validity")
    return Table("MLPerf scenarios, by its load generator", columns, rows)


def fact_table(result: Result) -> Table:
    """Returns what is known of machine and software."""
    return Table("Machine and software", ("what", "value"), result.facts)


def correct(row: ResultRow) -> str:
    """Returns the share of labelled photos that were classified correctly, with its interval."""
    share = row.accuracy
    if share is None:
        return UNKNOWN
    of = "" if share.count is None else f" of {share.count}"
    if share.low is None or share.high is None:
        return f"{percent(share.share)}{of}"
    return f"{percent(share.share)}{of} ({percent(share.low)} to {percent(share.high)})"


def quality(row: ResultRow, predicts_accuracy: bool) -> str:
    """Returns what a network is expected to reach: accuracy, or its size where none is known."""
    return percent(row.expected_accuracy) if predicts_accuracy else digits(row.mmacs) + " MMACs"


def validity(row: ResultRow | Scenario) -> str:
    """Returns "valid", why figures are invalid, or why there are none."""
    if row.failed:
        return f"failed: {row.failed}"
    return f"invalid: {', '.join(row.reasons)}" if row.reasons else "valid"


def csv_text(results: Sequence[Result]) -> str:
    """Returns every measured row of every result, plain numbers in base units."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ("file", "device", "bundle", "date", "role", "engine", "unit", "precision", "threads",
         "resolution_px", "mmacs", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p95_low_ms",
         "p95_high_ms", "runs", "expected_accuracy", "predicted_p95_ms", "right", "same_class",
         "images_per_s_batch_1", "peak_memory_bytes", "artefact_bytes", "joules_per_image",
         "failed", "reasons", "subnet")
    )  # fmt: skip
    for result in results:
        for row in (*result.engines, *result.largest, *result.front, *result.lower):
            writer.writerow([_csv_cell(value) for value in _csv_row(result, row)])
    return stream.getvalue()


def _csv_row(result: Result, row: ResultRow) -> list[object]:
    bounds = row.interval_ms.get(95, (None, None))
    expected = row.expected_accuracy if result.predicts_accuracy else None
    return [
        result.path.name, result.device, result.bundle, result.date, row.role, row.engine,
        row.device, row.precision, row.threads, row.resolution, row.mmacs,
        *(row.latency_ms.get(p) for p in (50, 90, 95, 99)), *bounds, row.count, expected,
        row.predicted_p95_ms, row.accuracy and row.accuracy.share, row.same_class,
        row.images_per_s.get(1), row.peak_memory_bytes, row.artefact_bytes, row.joules_per_image,
        row.failed, "; ".join(row.reasons), row.subnet,
    ]  # fmt: skip


def _csv_cell(value: object) -> object:
    """Returns a value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _kind(cells: Sequence[str]) -> str:
    """Returns how a column is written: words from the left, figures to the right."""
    return "" if any(cell[:1].isdigit() for cell in cells) else ' class="words"'


def _html_row(row: Cells, kinds: Sequence[str]) -> str:
    first, *others = map(escape, row)
    cells = zip(kinds[1:], others, strict=True)
    shown = "".join(
        f"<td{kind}>{cell}</td>" if len(cell) < LONG else f"<td{kind}>{LONG_CELL.format(cell)}</td>"
        for kind, cell in cells
    )
    return f'<th scope="row">{first}</th>{shown}'


def _without_unknown(title: str, columns: Cells, rows: Iterable[Cells]) -> Table:
    """Returns a table without the columns in which nothing is known."""
    lines = tuple(rows)
    known = [set(cells) != {UNKNOWN} for cells in zip(*lines, strict=True)]
    kept = [tuple(compress(line, known)) for line in (columns, *lines)] if lines else [columns]
    return Table(title, kept[0], tuple(kept[1:]))
