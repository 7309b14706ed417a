"""The commands that measure a bundle and show or compare such results: bench, compare, report."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli.app import BundlePath, Force, Json, app
from tofa_edge.cli.output import ReportedExit, out, print_json, print_lines, table, tell
from tofa_edge.interruption import SIGNALLED, interruption

if TYPE_CHECKING:
    from tofa_edge.benchmarks.result.bench_result import BenchResult
    from tofa_edge.benchmarks.result.row import Row
    from tofa_edge.benchmarks.suite.against import Against
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
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Measure this network too, .onnx or .tflite; may be repeated."
        ),
    ] = None,
    against_mean: Annotated[
        str, typer.Option(metavar="R,G,B", help="It subtracts this from pixels of 0..255.")
    ] = "",
    against_std: Annotated[
        str, typer.Option(metavar="R,G,B", help="Then it divides by this. One number serves all.")
    ] = "",
    against_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its classes in their order, one a line.")
    ] = None,
    against_size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Of its image, where it takes any.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measures every engine with a bundle, and the best networks at several latencies (the front).

    Ctrl-C, SIGTERM and SIGHUP (a lost connection) end it and keep what was measured.
    """
    from tofa_edge.benchmarks.result.reading import to_json
    from tofa_edge.benchmarks.suite.bench import BenchOptions
    from tofa_edge.benchmarks.suite.bench import bench as measured

    names = tuple(name.strip() for name in engines.split(",") if name.strip())
    others = _against(against or [], against_mean, against_std, against_labels, against_size)
    options = BenchOptions(quick, names, sustain, scenarios, others)
    with interruption() as asked:
        result = measured(bundle, out_path, options)
        if result.interrupted:
            tell("tofa-edge: interrupted; what was measured until then is written")
        if as_json:
            print_json(json.loads(to_json(result)))
        else:
            _print_result(result)
    if result.interrupted:
        raise ReportedExit(SIGNALLED + (asked.number or signal.SIGINT))


def _print_result(result: BenchResult) -> None:
    rows = [(str(row.configuration), *_figures(row)) for row in result.middle]
    title = "engines, with the middle subnet"
    out.print(table(title, "engine", *FIGURES, words=("verdict",), rows=rows))
    error = result.mean_prediction_error
    form = ".1%" if result.predicts_accuracy else ".2f"
    rows = [
        (
            str(row.resolution),
            f"{row.mmacs or 0:.1f}",
            f"{row.expected_accuracy or 0:{form}}",
            f"{row.predicted_p95_ms or 0:.2f}",
            *_figures(row),
            "" if row.role == "front" else "largest subnet, smaller input",
        )
        for row in result.front
    ]
    off = "not measured" if error is None else f"predicted p95 off by {error:.1%} on average"
    score = "accuracy" if result.predicts_accuracy else "log MACs over the largest's"
    columns = ("px", "MMACs", score, "predicted", *FIGURES, "")
    out.print(table(f"front, {off}", *columns, words=("verdict", ""), rows=rows))
    if result.against:
        _print_against(result)


def _print_against(result: BenchResult) -> None:
    """Prints external networks, and those of the front with what the same photos say."""
    columns = ("network", "px", "correct on check photos", *FIGURES)
    shown = sorted((*result.against, *result.chosen), key=lambda row: row.p95_ms or 0)
    rows = [(row.name, str(row.resolution or ""), _correct(row), *_figures(row)) for row in shown]
    out.print(table("against the front", *columns, words=("verdict",), rows=rows))
    notes = dict.fromkeys(f"{row.file}: {note}" for row in result.against for note in row.notes)
    print_lines(notes)


def _correct(row: Row) -> str:
    return "" if row.accuracy is None else f"{row.accuracy.right} of {row.accuracy.of}"


def _figures(row: Row) -> list[str]:
    """Returns percentiles, runs and verdict of a row."""
    if row.latency is None:
        return ["", "", "", "", row.verdict]
    figures = [f"{row.latency_ms[percentile]:.2f}" for percentile in (50, 95, 99)]
    return [*figures, str(row.latency.count), row.verdict]


def _against(
    paths: Sequence[Path], mean: str, std: str, labels: Path | None, size: int | None
) -> tuple[Against, ...]:
    """Returns the networks to compare with, all of the same pre-processing and classes."""
    from tofa_edge.benchmarks.suite.against import Against
    from tofa_edge.network.network import Preprocessing

    if bool(mean) != bool(std):
        raise typer.BadParameter("wanted both --against-mean and --against-std, or neither")
    try:
        known = Preprocessing(_colours(mean), _colours(std)) if mean else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    names: tuple[str, ...] = ()
    if labels is not None:
        try:
            names = tuple(line.strip() for line in labels.read_text("utf-8").splitlines())
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"{labels} cannot be read: {error}") from None
    return tuple(Against(path, known, tuple(filter(None, names)), size) for path in paths)


def _colours(text: str) -> tuple[float, float, float]:
    """Returns three numbers, "127,127,127"; one serves for all."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise typer.BadParameter(f"wanted one number or three with commas, got {text}")
    red, green, blue = values * (3 if len(values) == 1 else 1)
    return red, green, blue


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
