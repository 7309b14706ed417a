"""The command that compares results of `bench`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tofa_edge.cli.app import Json, app
from tofa_edge.cli.output import out, print_json, table


def _percent(text: str) -> float:
    """Returns the number in "5" or "5%"."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"wanted a number of percent, such as 5%, got {text}") from None
    if not 0 <= value < float("inf"):
        raise typer.BadParameter(f"wanted 0% or more, got {text}")
    return value


@app.command()
def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT…", help="Files of bench, the first to go by; or folders of them."
        ),
    ],
    fail_above: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            parser=_percent,
            help="Exit with 1 where one is slower by more, such as 5%, and that is no noise.",
        ),
    ] = None,
    merge: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write one table of all results there, and a registry of device profiles.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Says what differs between results of bench, and whether that is more than noise.

    With --merge, results of many devices become one table; they are then compared only where
    --fail-above says so.
    """
    from tofa_edge.benchmarks.suite.compare import compare as compared
    from tofa_edge.benchmarks.suite.merge import files_of, merged

    paths = files_of(results)
    if merge is not None:
        for path in merged(paths, merge):
            if not as_json:
                out.print(f"wrote {path}", markup=False)
        if len(paths) < 2 or fail_above is None:
            return
    found = compared(paths)
    if as_json:
        print_json(
            [
                {**dataclasses.asdict(item), "verdict": item.verdict,
                 "before": str(item.before), "after": str(item.after)}
                for item in found
            ]
        )  # fmt: skip
    else:
        for item in found:
            shown = table(str(item.after), "network", "before", "after", "ratio", "verdict")
            for row in item.rows:
                times = (f"{row.before_ms:.3f} ms", f"{row.after_ms:.3f} ms", f"{row.ratio:.3f}")
                shown.add_row(row.name, *times, row.verdict)
            out.print(shown)
            for line in item.differing:
                out.print(line, markup=False)
            out.print(str(item), markup=False)
    if fail_above is not None and any(item.is_slower_than(fail_above / 100) for item in found):
        raise typer.Exit(1)
