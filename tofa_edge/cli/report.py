"""The command that shows results of `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tofa_edge.cli.app import app
from tofa_edge.cli.output import out


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT…", help="Files of bench, or folders of them; several: one page."
        ),
    ],
    out_path: Annotated[
        Path, typer.Option("--out", help="HTML file; Markdown and CSV go beside it.")
    ] = Path("report.html"),
) -> None:
    """Makes a page of results of bench that opens anywhere, with Markdown and CSV beside it."""
    from tofa_edge.benchmarks.report.write import report as written
    from tofa_edge.benchmarks.suite.merge import files_of

    for path in written(files_of(results), out_path):
        out.print(f"wrote {path}", markup=False)
