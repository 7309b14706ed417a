"""Trials of the suite itself: each in a process of its own, and resumed where they were ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tofa_edge.backends.support import usable_cores
from tofa_edge.benchmarks.studies.provenance import store

Row = dict[str, Any]


def in_a_process(module: str, words: Sequence[str]) -> Any:
    """Returns what a module of the benchmarks prints last, as JSON, run by itself."""
    command = [sys.executable, "-m", f"tofa_edge.benchmarks.studies.{module}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def resumed(
    out: Path,
    made: Row,
    name: str,
    wanted: int,
    now: int,
    trial: Callable[[], Row],
    summary: Callable[[list[Row]], Row],
) -> None:
    """Makes what is missing of a number of trials, and writes the result after each."""
    rows = json.loads(out.read_text())[name] if out.exists() else []
    for _ in range(min(now, wanted - len(rows))):
        rows.append(trial())
        found = summary(rows)
        store(out, {"made": made, "cores": usable_cores(), "summary": found, name: rows})
        print(json.dumps(found), flush=True)
