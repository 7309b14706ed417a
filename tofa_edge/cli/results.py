"""The commands that measure a bundle and show or compare such results: bench, compare, report."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tofa_edge.cli.app import BundlePath, Force, Json, app
from tofa_edge.cli.output import ReportedExit, out, print_json, print_lines, table, tell
from tofa_edge.interruption import SIGNALLED, interruption

if TYPE_CHECKING:
    from tofa_edge.benchmarks.suite.compare import Comparison

FIGURES = ("p50 ms", "p95 ms", "p99 ms", "runs", "verdict")


@app.command()
def bench(
    bundle: BundlePath,
    out_path: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path(
        "results"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Take at most two minutes.")] = False,
    sustain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Then run the fastest network so long.")
    ] = 0.0,
    engines: Annotated[
        str, typer.Option(help="Engines, separated by commas; default: all that work here.")
    ] = "",
    scenarios: Annotated[
        bool, typer.Option(help="Run MLPerf's SingleStream and Offline, if loadgen is installed.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Measures every engine with a bundle, and the best networks at several latencies (the front).

    Ctrl-C, SIGTERM and SIGHUP (a lost connection) end it and keep what was measured.
    """
    from tofa_edge.benchmarks.suite.bench import BenchOptions
    from tofa_edge.benchmarks.suite.bench import bench as measured

    names = tuple(name.strip() for name in engines.split(",") if name.strip())
    options = BenchOptions(quick=quick, engines=names, sustain_s=sustain, scenarios=scenarios)
    with interruption() as asked:
        result = measured(bundle, out_path, options)
        if result["interrupted"]:
            tell("tofa-edge: interrupted; what was measured until then is written")
        if as_json:
            print_json(result)
        else:
            _print_result(result)
    if result["interrupted"]:
        raise ReportedExit(SIGNALLED + (asked.number or signal.SIGINT))


def _print_result(result: dict[str, Any]) -> None:
    from tofa_edge.benchmarks.suite.fields import engine_name

    rows = [(engine_name(r), *_figures(r)) for r in result["rows"] if r["size"] == "middle"]
    title = "engines, with the middle subnet"
    out.print(table(title, "engine", *FIGURES, words=("verdict",), rows=rows))
    predicts_accuracy = result["predicts_accuracy"]
    error = result["mean_prediction_error"]
    rows = [
        (
            str(row["resolution"]),
            f"{row['mmacs']:.1f}",
            f"{row['expected_accuracy']:{'.1%' if predicts_accuracy else '.2f'}}",
            f"{row['predicted_p95_ms']:.2f}",
            *_figures(row),
            "" if row["role"] == "front" else "largest subnet, smaller input",
        )
        for row in result["front"]
    ]
    off = "not measured" if error is None else f"predicted p95 off by {error:.1%} on average"
    score = "accuracy" if predicts_accuracy else "log MACs over the largest's"
    columns = ("px", "MMACs", score, "predicted", *FIGURES, "")
    out.print(table(f"front, {off}", *columns, words=("verdict", ""), rows=rows))


def _figures(row: dict[str, Any]) -> list[str]:
    """Returns percentiles, runs and verdict of a row."""
    latency = row["latency"]
    if latency is None:
        return ["", "", "", "", f"failed: {row['failed']}"]
    figures = [f"{latency[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
    verdict = "VALID" if row["valid"] else "; ".join(row["reasons"])
    return [*figures, str(latency["count"]), verdict]


def _percent(text: str) -> float:
    """Returns the number in "5" or "5%"."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"wanted a percentage, such as 5%, got {text}") from None
    if not 0 <= value < float("inf"):
        raise typer.BadParameter(f"wanted 0% or more, got {text}")
    return value


@app.command()
def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT…", help="Result files of bench, the baseline first; or folders of them."
        ),
    ],
    fail_above: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            parser=_percent,
            help="Exit with 1 if a result is slower by more, such as 5%, beyond noise.",
        ),
    ] = None,
    merge: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write one table and device profiles of all results."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compares results of bench with the first one, and says whether a difference is noise.

    With --merge, results of many devices become one table; add --fail-above to compare as well.
    """
    from tofa_edge.benchmarks.suite.compare import compare as compared
    from tofa_edge.benchmarks.suite.merge import files_of, merged

    paths = files_of(results)
    if merge is not None:
        files = merged(paths, merge, force)
        if not as_json:
            print_lines(f"wrote {path}" for path in files)
        if len(paths) < 2 or fail_above is None:
            return
    comparisons = compared(paths)
    _print_comparisons(comparisons, as_json)
    if fail_above is not None and any(c.is_slower_than(fail_above / 100) for c in comparisons):
        raise typer.Exit(1)


def _print_comparisons(comparisons: Sequence[Comparison], as_json: bool) -> None:
    if as_json:
        print_json([{**dataclasses.asdict(c), "verdict": c.verdict} for c in comparisons])
        return
    for item in comparisons:
        rows = [
            (r.name, f"{r.before_ms:.3f} ms", f"{r.after_ms:.3f} ms", f"{r.ratio:.3f}", r.verdict)
            for r in item.rows
        ]
        columns = ("network", "before", "after", "ratio", "verdict")
        out.print(table(str(item.after), *columns, rows=rows))
        print_lines([*item.differing, item])


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT…", help="Result files of bench, or folders of them; all on one page."
        ),
    ],
    out_path: Annotated[
        Path, typer.Option("--out", help="HTML file; Markdown and CSV go beside it.")
    ] = Path("report.html"),
    force: Force = False,
) -> None:
    """Makes an HTML page of results of bench that opens offline, with Markdown and CSV."""
    from tofa_edge.benchmarks.report.write import report as written
    from tofa_edge.benchmarks.suite.merge import files_of

    print_lines(f"wrote {path}" for path in written(files_of(results), out_path, force))
