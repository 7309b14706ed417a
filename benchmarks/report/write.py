"""`tofa-edge report`: results of `tofa-edge bench` as a page, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tofa_edge.benchmarks.report.budgets import headline, quality_name
from tofa_edge.benchmarks.report.html import page, page_title
from tofa_edge.benchmarks.report.merged import engine_device_table, names, overview_table
from tofa_edge.benchmarks.report.remarks import remarks
from tofa_edge.benchmarks.report.tables import (
    csv_text,
    engine_table,
    fact_table,
    front_table,
    markdown_text,
    scenario_table,
)
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.reading import read
from tofa_edge.errors import DataError
from tofa_edge.storage.files import check_place, write_whole

SUFFIXES = (".html", ".md", ".csv")


def report(paths: Sequence[Path], out: Path, overwrite: bool = False) -> tuple[Path, ...]:
    """Writes results as one HTML file, which needs no network, and as Markdown and CSV beside it.

    Args:
        paths: of files that `tofa-edge bench` wrote; several make one page that compares them.
        out: HTML file to write, with the suffix ".html"; the others have ".md" and ".csv".
        overwrite: whether files of those names may be replaced.

    Returns:
        the files written: HTML, Markdown, CSV.

    Raises:
        DataError: there is no result, one is something else, or a file exists or cannot be written.
    """
    if not paths:
        raise DataError("wanted one result of tofa-edge bench or more, got none")
    if out.suffix.lower() != ".html":
        raise DataError(f"wanted a file to write that ends in .html, got {out}")
    results = [read(path) for path in paths]
    _check_places(out, overwrite)
    texts = (
        page(results),
        _markdown(results),
        csv_text([(path.name, each) for path, each in zip(paths, results, strict=True)]),
    )
    places = tuple(map(out.with_suffix, SUFFIXES))
    for path, text in zip(places, texts, strict=True):
        write_whole(path, text.encode(), overwrite, DataError)
    return places


def write_beside(result: Path) -> tuple[Path, ...]:
    """Writes the report of one result beside it, in place of an earlier one.

    The files have the same name with .html, .md and .csv.

    Args:
        result: a file that `tofa-edge bench` wrote.

    Returns:
        the files written.

    Raises:
        DataError: as for `report`.
    """
    return report([result], result.with_suffix(".html"), overwrite=True)


def _check_places(out: Path, overwrite: bool) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
    for suffix in SUFFIXES:
        check_place(out.with_suffix(suffix), overwrite, DataError)


def _markdown(results: Sequence[BenchResult]) -> str:
    """Returns what the page says, without its plots."""
    parts = [f"# {markdown_text(page_title(results))}\n"]
    if len(results) > 1:
        parts += [overview_table(results).markdown(), engine_device_table(results).markdown()]
    for name, result in zip(names(results), results, strict=True):
        parts += _section(name, result)
    return "\n".join(parts)


def _section(name: str, result: BenchResult) -> list[str]:
    budget, best = headline(result)
    words = f"{budget}: **{markdown_text(best)}**" if best else "Nothing was measured."
    when = ", ".join(word for word in (result.bundle.name, result.date) if word)
    listed = [f"- {markdown_text(word)}" for word in remarks(result)]
    tables = (
        engine_table(result),
        engine_table(result, largest=True),
        front_table(result, quality_name(result.predicts_accuracy)),
        scenario_table(result),
        fact_table(result),
    )
    shown = [table.markdown() for table in tables if table.rows]
    head = [f"## {markdown_text(name)}\n", f"{words}\n", f"{markdown_text(when)}\n"]
    return [*head, *(["\n".join([*listed, ""])] if listed else []), *shown]
