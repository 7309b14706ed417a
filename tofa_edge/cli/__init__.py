"""The command line: `tofa-edge`. Thin: every command calls one public function and prints."""

from __future__ import annotations

import contextlib
import io
import os
import sys

INTERRUPTED = 130
STANDARD_STREAMS = 3


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 an error said in one line, 2 wrong usage, 3 no network within the budget,
    130 interrupted.
    """
    _settle_streams()
    import tofa_edge.cli.compare
    import tofa_edge.cli.conformance
    import tofa_edge.cli.export
    import tofa_edge.cli.host
    import tofa_edge.cli.report  # noqa: F401  their commands join those of a device
    from tofa_edge.cli.app import app
    from tofa_edge.cli.output import ReportedExit, show_log, tell
    from tofa_edge.errors import TofaError

    debug = "--debug" in sys.argv
    show_log()
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED and not isinstance(
            end, ReportedExit
        ):  # by Ctrl-C, which the library turns into this
            tell("tofa-edge: interrupted; no bundle was written")
        raise
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, TofaError)
        tell(f"tofa-edge: {error if known else _unexpected(error)}")
        _drop_unwritten()
        sys.exit(_exit_code(error))


def _exit_code(error: Exception) -> int:
    from tofa_edge.errors import BudgetError, LimitError

    if isinstance(error, LimitError):
        return 2
    return 3 if isinstance(error, BudgetError) else 1


def _settle_streams() -> None:
    """Makes sure that printing neither fails nor gets into files.

    A file opened while a standard stream is closed gets its number, and what an engine prints gets
    into the file. Names of files may be no text in the terminal's encoding.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < STANDARD_STREAMS:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_unwritten() -> None:
    """Gives up output that cannot be written: else Python says the same again as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _unexpected(error: Exception) -> str:
    """Returns one line about what this package did not raise on purpose."""
    if isinstance(error, MemoryError):
        return "no memory left: close other programs, or take it to a machine with more"
    where = "tofa-edge --debug shows where"
    if isinstance(error, ImportError):  # half an installation, or no memory to map a library
        *_, last = str(error).strip().splitlines() or [""]
        return f"cannot import what is needed: {last}; {where}"
    if isinstance(error, OSError):
        return f"{error}; {where}"
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said} (this is a bug); {where}"
