"""The command line: `tofa-edge`. Thin: every command calls one public function and prints."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 an error said in one line, 2 wrong usage, 3 no network within the budget,
    130 interrupted.
    """
    import tofa_edge.cli.conformance
    import tofa_edge.cli.export
    import tofa_edge.cli.host  # noqa: F401  their commands join those of a device
    from tofa_edge.cli.app import app
    from tofa_edge.cli.output import tell
    from tofa_edge.errors import BudgetError, TofaError

    debug = "--debug" in sys.argv
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # by Ctrl-C, which the library turns into this
            tell("tofa-edge: interrupted; no bundle was written")
        raise
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, TofaError)
        what = str(error) if known else f"{type(error).__name__}: {error} (this is a bug)"
        tell(f"tofa-edge: {what}" + ("" if known else "; tofa-edge --debug shows where"))
        sys.exit(3 if isinstance(error, BudgetError) else 1)
