"""The application that commands register with, and the options that several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tofa_edge import __version__
from tofa_edge.cli.output import print_lines
from tofa_edge.storage.text import escaped

UsageError: type[Any] = typer.BadParameter.__mro__[1]  # typer brings its own click, or uses click's


class Commands(TyperGroup):
    """The commands; what was typed wrong is quoted without what a terminal would obey."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        """Reads the options before the command."""
        try:
            return super().make_context(*given, **options)
        except UsageError as error:
            raise _escaped(error) from None

    def invoke(self, ctx: Any) -> Any:
        """Reads the command with its options, and runs it."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _escaped(error) from None


def _escaped(error: Any) -> Any:
    error.message = escaped(error.message)
    return error


app = typer.Typer(
    name="tofa-edge",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One supernet, trained once; every device cuts the best network for itself out of one "
    "file. Exit codes: 0 done, 1 error, 2 wrong usage, 3 no network within the budget, "
    "130 interrupted (143 by SIGTERM, 129 by SIGHUP).",
)

Force = Annotated[bool, typer.Option("--force", help="Replace a file of that name.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .tofa file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
LatencyMs = Annotated[float | None, typer.Option(help="Budget: p95 of one prediction, in ms.")]
MemoryMb = Annotated[float | None, typer.Option(help="Budget: growth of the process, in MB.")]
SubnetJson = Annotated[
    str | None, typer.Option(metavar="JSON", help="Exactly this subnet, as deploy prints it.")
]
BackendName = Annotated[str | None, typer.Option("--backend", help="Engine; default: the fastest.")]
Threads = Annotated[int | None, typer.Option(help="Default: the fastest number.")]
Precision = Annotated[
    str | None,
    typer.Option(help="fp32, fp16, bf16, int8 or dynamic; default: the best in the budget."),
]
Observed = Annotated[
    bool,
    typer.Option(
        "--observed",
        help="Bound latency with what other programs add now, not the network's own.",
    ),
]
MinCheckAccuracy = Annotated[
    float | None,
    typer.Option(
        min=0, max=100, metavar="PERCENT", help="Check photos that must be right, or it is refused."
    ),
]
MaxDrop = Annotated[
    float, typer.Option(min=0, metavar="POINTS", help="Accuracy that 8-bit integers may cost.")
]
Frames = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Photos of this device's camera, to calibrate BatchNorm; also a pattern.",
    ),
]
FramesShare = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Of calibration images, at most; default: a quarter."),
]


def _version(is_asked: bool) -> None:
    if is_asked:
        print_lines([f"tofa-edge {__version__}"])
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Takes the options that stand before the command; `main` reads --debug itself."""
