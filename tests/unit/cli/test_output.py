"""What commands print: text as it is and without danger for terminals, JSON exact."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.progress import Progress

from tofa_edge.cli import output

HOSTILE = ":car: b8:27:eb:ab [red]x[/red] \x1b]0;title\x07 \u202e \udcff"
SHOWN = ":car: b8:27:eb:ab [red]x[/red] \\x1b]0;title\\x07 \\u202e \\xff"


def test_lines_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_lines([HOSTILE, "two\nlines"])
    output.tell(HOSTILE)
    printed = capsys.readouterr()
    assert printed.out == f"{SHOWN}\ntwo\nlines\n"
    assert printed.err == f"{SHOWN}\n"


def test_tables_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.out.print(output.table(HOSTILE, HOSTILE, "figure", rows=[(HOSTILE, ":+1:")]))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [SHOWN, f"{SHOWN}  figure", f"{SHOWN}    :+1:"]


def test_progress_is_printed_as_it_is() -> None:
    stream = io.StringIO()
    column = output.PlainColumn("{task.description}{task.fields[left]}")
    console = output.PlainConsole(file=stream, width=160, force_terminal=False)
    with Progress(column, console=console) as bar:
        bar.add_task(HOSTILE, left=":car:")
    assert stream.getvalue().strip() == f"{SHOWN}:car:"


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    value = {HOSTILE: [Path(HOSTILE), "x" * 1000]}
    output.print_json(value)
    assert json.loads(capsys.readouterr().out) == {HOSTILE: [HOSTILE, "x" * 1000]}
