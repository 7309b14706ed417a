"""The process of a self-test: `python -m tofa_edge.selftest.child`.

It must not outlive the process that started it, not even where an engine hangs, so that comes
before anything else is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reports, as one JSON object a line, the targets of an engine and the result of each.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--report", type=int, required=True, help="a file descriptor")
    parser.add_argument("--descriptor", type=int, help="of the bundle whose golden cases count")
    parser.add_argument("--bundle", type=Path, help="its path, for messages")
    parser.add_argument("--digest", help="of the bundle that was opened")
    parser.add_argument("--start", type=int, default=0, help="number of the first target")
    options = parser.parse_args(arguments)
    end_with_parent(options.report)
    from tofa_edge.selftest.examination import examine

    with os.fdopen(options.report, "w", buffering=1) as report:
        what = (options.name, options.descriptor, options.bundle, options.start)
        examine(*what, report, options.digest)


def end_with_parent(report: int) -> None:
    """Sees to it that this process is killed when the one that reads the report is gone.

    On Linux the kernel does it, also where an engine holds the interpreter's lock. A thread that
    watches the pipe does it elsewhere, and where another process stands between the two.

    Args:
        report: the descriptor of a pipe that the other process reads.
    """
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            signal_number = ctypes.c_ulong(signal.SIGKILL)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, *[ctypes.c_ulong(0)] * 3)
    threading.Thread(target=_kill_without_reader, args=(report,), daemon=True).start()


def _kill_without_reader(report: int) -> None:
    watching = select.poll()
    watching.register(report, 0)  # errors alone: the other end is closed
    watching.poll()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
