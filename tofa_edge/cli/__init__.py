"""The command line `tofa-edge`: each command calls one function of the package and prints."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from importlib import import_module

from tofa_edge.interruption import INTERRUPTIONS, SIGNALLED, Interruption, interruption

INTERRUPTED = tuple(SIGNALLED + number for number in INTERRUPTIONS)
STANDARD_STREAMS = 3
COMMANDS = (  # modules that have them
    "checks", "device", "run", "export", "host", "photos", "results",
    "fleet.trust", "fleet.install",
)  # fmt: skip


def load_commands() -> None:
    """Registers all commands with `tofa_edge.cli.app.app`, in the order that --help lists."""
    for name in COMMANDS:
        import_module(f"{__name__}.{name}")


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 an error in one line, 2 wrong usage, 3 no network within the budget,
    130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    with interruption() as asked:
        try:
            _settle_streams()
            load_commands()
            _run(asked)
        except KeyboardInterrupt:  # before a command began, or after it ended
            _end_interrupted(asked)


def _run(asked: Interruption) -> None:
    from tofa_edge.cli.app import app
    from tofa_edge.cli.output import ReportedExit, show_log, tell
    from tofa_edge.errors import BudgetError, LimitError, TofaError
    from tofa_edge.storage.text import escaped

    show_log()
    try:
        app()
    except ReportedExit:
        raise
    except SystemExit as end:
        if end.code in INTERRUPTED:  # typer, after a signal
            _end_interrupted(asked)
        raise
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        told = error if isinstance(error, TofaError) else _unexpected(error)
        tell(escaped(f"tofa-edge: {told}"))
        _drop_unwritten()
        if asked.number is not None:  # the terminal went away, and printing failed
            sys.exit(SIGNALLED + asked.number)
        sys.exit(2 if isinstance(error, LimitError) else 3 if isinstance(error, BudgetError) else 1)


def _end_interrupted(asked: Interruption) -> None:
    """Says that the command was not done, and exits with the code of the signal.

    Raises:
        SystemExit: always.
    """
    from tofa_edge.cli.output import tell

    number = asked.number or signal.SIGINT  # torchrun had another process interrupted
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    tell(f"tofa-edge: interrupted{by}, before it was done")
    _drop_unwritten()
    sys.exit(SIGNALLED + number)


def _settle_streams() -> None:
    """Makes sure that printing neither fails nor ends up in a file.

    A file that is opened while a standard stream is closed takes the stream's number, and what an
    engine prints would go there. Some file names cannot be encoded for the terminal.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < STANDARD_STREAMS:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_unwritten() -> None:
    """Drops output that cannot be written, else Python reports it once more as it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


def _unexpected(error: Exception) -> str:
    """Returns one line about an error that this package did not raise itself."""
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or use a machine with more memory"
    hint = "tofa-edge --debug shows where"
    if isinstance(error, ImportError):  # an incomplete installation, or no memory for a library
        *_, last = str(error).strip().splitlines() or [""]
        return f"cannot import what is needed: {last}; {hint}"
    if isinstance(error, OSError):
        return f"{error}; {hint}"
    return f"{type(error).__name__}: {' '.join(str(error).split())} (this is a bug); {hint}"
