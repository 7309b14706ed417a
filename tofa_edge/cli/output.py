"""How commands print: a progress bar on a terminal, plain lines elsewhere, JSON when asked.

Every command prints through this module and nothing else does; a test of the repository checks it.
Text is printed as it is, without rich's markup and emoji, and letters that a terminal obeys are
escaped. JSON is exact.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.table import Table as Table  # for those who make one: they do not import rich
from rich.text import Text

from tofa_edge.storage.text import escaped

if TYPE_CHECKING:
    from tofa_edge.train.config import Progress as Step

PLAIN_LINES = 20  # of progress of a phase, where there is no terminal
LEAST_SECONDS, MOST_SECONDS = 1.0, 20.0  # between two of them
FILE_WIDTH = 160  # columns of a table where there is no terminal, and COLUMNS says nothing


class PlainConsole(Console):
    """Prints text as it is: no markup, no emoji, and nothing that a terminal would obey.

    All strings come by `render_str`: lines, cells and titles of tables.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns a string as rich's text, escaped, its lines kept."""
        kept = {name: options[name] for name in ("style", "justify", "overflow") if name in options}
        return Text(escaped(text, kept="\n"), **kept)


class PlainColumn(TextColumn):
    """A column of a progress bar whose text is printed as it is."""

    def render(self, task: Task) -> Text:
        """Returns the text for a task."""
        return Text(escaped(self.text_format.format(task=task)), style=self.style)


def _console(stderr: bool) -> Console:
    console = PlainConsole(
        stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False
    )
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


out, err = _console(stderr=False), _console(stderr=True)


def tell(line: str) -> None:
    """Prints a line for people to the error stream: the other one is for results.

    Where nobody can read it any more (the connection was lost), work goes on without.
    """
    with contextlib.suppress(OSError):
        err.print(line)


class ReportedExit(SystemExit):
    """Ends a command that has already printed why it ends."""


class Lines(logging.Handler):
    """Prints what the package logs to the error stream.

    Warnings, messages of training and installing, and names of written files always; anything else
    only on a terminal.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        line = record.getMessage()
        told = ("tofa_edge.train", "tofa_edge.fleet")
        always = record.levelno > logging.INFO or record.name.startswith(told)
        if always or line.startswith("wrote ") or err.is_terminal:
            tell(escaped(line))


def show_log() -> None:
    """Prints what the package logs from now on, once."""
    logger = logging.getLogger("tofa_edge")
    if not any(isinstance(handler, Lines) for handler in logger.handlers):
        logger.addHandler(Lines())
        logger.setLevel(logging.INFO)


def print_lines(lines: Iterable[object]) -> None:
    """Prints results for people to the output stream, each a line."""
    for line in lines:
        out.print(str(line))


def print_json(value: object) -> None:
    r"""Prints one JSON document to the output stream; paths as text.

    It is exact: all beyond ASCII is escaped, as are bytes of a path that are no UTF-8
    (`"\udcff"`, which Python's `os.fsencode` makes the byte of again).
    """
    print_exactly(json.dumps(value, indent=2, default=os.fspath) + "\n")


def print_exactly(text: str) -> None:
    """Prints text for programs to the output stream: nothing of it is escaped or wrapped."""
    out.file.write(text)
    out.file.flush()


def table(
    title: str, *columns: str, words: Collection[str] = (), rows: Iterable[Iterable[str]] = ()
) -> Table:
    """Returns a table; the first column and those of `words` are left-aligned, figures right."""
    result = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, column in enumerate(columns):
        folds = column in words or not index
        result.add_column(
            column, justify="left" if folds else "right", no_wrap=not folds, overflow="fold"
        )
    for row in rows:
        result.add_row(*row)
    return result


def is_first_process() -> bool:
    """Returns whether torchrun started no process before this one; without it there is only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def training_progress() -> Iterator[Callable[[Step], None]]:
    """Yields what to call after each step of training: a bar on a terminal, lines elsewhere."""
    if not (err.is_terminal and is_first_process()):
        yield _plain_lines()
        return
    columns = (
        PlainColumn("{task.description}"),
        BarColumn(),
        PlainColumn("{task.completed:.0f}/{task.total:.0f} steps"),
        PlainColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        PlainColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("training", total=None, figures="", left="")
        yield lambda step: bar.update(
            task,
            description=step.phase,
            completed=step.step,
            total=step.steps,
            figures=_figures(step),
            left=_left(step),
        )


def _plain_lines() -> Callable[[Step], None]:
    """Returns what prints each phase's first and last step, and those between now and then."""
    printed, phase = time.monotonic(), ""

    def show(step: Step) -> None:
        nonlocal printed, phase
        seconds = time.monotonic() - printed
        due = step.step % max(1, step.steps // PLAIN_LINES) == 0 and seconds >= LEAST_SECONDS
        first, phase = step.phase != phase, step.phase
        if due or first or step.step == step.steps or seconds >= MOST_SECONDS:
            tell(f"{step.phase} {step.step}/{step.steps}, {_figures(step)}, {_left(step)}")
            printed = time.monotonic()

    return show


def _left(step: Step) -> str:
    left = (step.steps - step.step) * step.seconds / step.step
    if step.seconds_left is None:
        return f"{left:.0f} s left"
    return f"{left:.0f} s left, {step.seconds_left:.0f} s with the phases after it"


def _figures(step: Step) -> str:
    if not step.losses:
        return f"{step.images_per_second:.0f} a second"
    smaller, larger, *_ = step.losses
    speed = f"{step.images_per_second:.0f} images/s"
    rate = step.metrics.get("mask_rate")
    trusted = "" if rate is None else f", {rate:.0%} of pseudo-labels trusted"
    return f"loss of a smaller subnet {smaller:.2f}, a larger {larger:.2f}{trusted}, {speed}"
