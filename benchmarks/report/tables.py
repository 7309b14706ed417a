"""Tables of the report, and how they are written: HTML, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import compress

from tofa_edge.benchmarks.report.remarks import facts
from tofa_edge.benchmarks.report.words import (
    UNKNOWN,
    digits,
    interval,
    megabytes,
    milliseconds,
    percent,
    with_unit,
)
from tofa_edge.benchmarks.result.bench_result import BenchResult, Scenario
from tofa_edge.benchmarks.result.row import Row
from tofa_edge.storage.text import spreadsheet_cell

Cells = tuple[str, ...]
LONG = 28  # characters, from which a cell has several lines
LONG_CELL = '<span class="long">{}</span>'
CSV_COLUMNS = (
    "file", "device", "bundle", "date", "role", "engine", "unit", "precision", "threads",
    "resolution_px", "mmacs", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p95_low_ms", "p95_high_ms",
    "observed_p50_ms", "observed_p95_ms", "runs", "expected_accuracy", "predicted_p95_ms", "right",
    "same_class", "images_per_s_batch_1", "peak_memory_bytes", "artefact_bytes",
    "joules_per_image", "failed", "reasons", "network",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows, as many cells as columns in each; the first column names a row.

    Attributes:
        title: above it.
        columns: their names.
        rows: of cells.
    """

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


def engine_table(result: BenchResult, largest: bool = False) -> Table:
    """Returns one network on every engine: what it costs."""
    title = "The largest network on the engines" if largest else "Engines side by side"
    rows = result.largest if largest else result.middle
    columns = ("engine", "px", "MMACs", "p50", "p95", "95 % interval of p95", "p99", "others add",
               "runs", "images/s", "memory", "file", "energy/image", "correct", "same class",
               "validity")  # fmt: skip
    return _without_unknown(title, columns, map(_engine_cells, rows))


def _engine_cells(row: Row) -> Cells:
    return (
        row.name,
        UNKNOWN if row.resolution is None else str(row.resolution),
        digits(row.mmacs),
        *(milliseconds(row.latency_ms.get(p)) for p in (50, 95)),
        interval(row.interval_ms.get(95)),
        milliseconds(row.latency_ms.get(99)),
        milliseconds(disturbance_ms(row)),
        UNKNOWN if row.latency is None else f"{row.latency.count}",
        digits(max(row.images_per_s.values(), default=None)),
        megabytes(row.peak_memory_bytes),
        megabytes(row.artefact_bytes),
        with_unit(None if row.joules_per_image is None else 1e3 * row.joules_per_image, "mJ"),
        UNKNOWN if row.accuracy is None else percent(row.accuracy.share),
        percent(row.same_class),
        validity(row),
    )


def disturbance_ms(row: Row) -> float | None:
    """Returns what other programs added to the p95, in ms; None where nothing was told apart."""
    latency = row.latency
    return None if latency is None or latency.observed is None else latency.disturbance_ms[1]


def front_table(result: BenchResult, name: str) -> Table:
    """Returns the networks of the front; name is what the accuracy is called."""
    columns = ("engine", "px", "MMACs", name, "correct on labelled photos", "predicted p95",
               "measured p95", "95 % interval", "p50", "validity")  # fmt: skip
    rows = sorted((*result.front, *result.against), key=lambda row: row.p95_ms or 0)
    return _without_unknown(
        "The front of latency and accuracy",
        columns,
        ((
            row.name + ("" if row.role in ("front", "against") else f" ({row.role})"),
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


def per_second(row: Row) -> str:
    """Returns the best throughput as a clause; empty where it is not known."""
    if not row.images_per_s:
        return ""
    batch = max(row.images_per_s, key=lambda batch: row.images_per_s[batch])
    return f", {digits(row.images_per_s[batch])} images/s in batches of {batch}"


def scenario_table(result: BenchResult) -> Table:
    """Returns the MLPerf scenarios."""
    rows = tuple(
        (
            f"{item.scenario}, {item.configuration.words}",
            UNKNOWN if item.queries is None else f"{item.queries:,}",
            milliseconds(item.p90_ms),
            digits(item.images_per_s),
            validity(item),
        )
        for item in result.scenarios
    )
    columns = ("scenario", "queries", "p90", "images/s", "validity")
    return Table("MLPerf scenarios, by its load generator", columns, rows)


def fact_table(result: BenchResult) -> Table:
    """Returns what is known of machine and software."""
    return Table("Machine and software", ("what", "value"), facts(result))


def correct(row: Row) -> str:
    """Returns the share of labelled photos that were classified correctly, with its interval."""
    share = row.accuracy
    if share is None:
        return UNKNOWN
    of = f" of {share.of}"
    return f"{percent(share.share)}{of} ({percent(share.low)} to {percent(share.high)})"


def quality(row: Row, predicts_accuracy: bool) -> str:
    """Returns what a network is expected to reach: accuracy, or its size where none is known."""
    return percent(row.expected_accuracy) if predicts_accuracy else with_unit(row.mmacs, "MMACs")


def validity(row: Row | Scenario) -> str:
    """Returns "valid", why figures are invalid, or why there are none."""
    if row.failed:
        return f"failed: {row.failed}"
    return f"invalid: {', '.join(row.reasons)}" if row.reasons else "valid"


def csv_text(results: Sequence[tuple[str, BenchResult]]) -> str:
    """Returns every row of every result, each with its file's name, in base units."""
    rows = (_csv_row(name, result, row) for name, result in results for row in result.every_row)
    return csv_lines(CSV_COLUMNS, rows)


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns `rows` under `columns` as comma-separated values; no spreadsheet computes a cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([spreadsheet_cell(v) if isinstance(v, str) else v for v in row])
    return stream.getvalue()


def _csv_row(name: str, result: BenchResult, row: Row) -> list[object]:
    latency, runs_on = row.latency, row.configuration
    observed = [latency.observed_ms(p) for p in (50, 95)] if latency else [None, None]
    expected = row.expected_accuracy if result.predicts_accuracy else None
    return [
        name, result.device_name, result.bundle.name, result.date, row.role, runs_on.engine,
        runs_on.unit, runs_on.precision, runs_on.threads, row.resolution, row.mmacs,
        *(row.latency_ms.get(p) for p in (50, 90, 95, 99)),
        *row.interval_ms.get(95, (None, None)), *observed, latency and latency.count, expected,
        row.predicted_p95_ms, row.right_share,
        row.same_class, row.images_per_s.get(1),
        row.peak_memory_bytes, row.artefact_bytes, row.joules_per_image,
        row.failed, "; ".join(row.reasons), row.subnet or row.file,
    ]  # fmt: skip


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
