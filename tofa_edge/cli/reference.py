"""Every command with its arguments and options, as a page of the docs.

    python -m tofa_edge.cli.reference > docs/cli.md

A test compares.
"""

from __future__ import annotations

import re

import typer.main
from typer.cli import get_docs_for_click

from tofa_edge.cli import COMMANDS, load_commands

INTRODUCTION = """\
# Commands

`tofa-edge COMMAND --help` says the same. This page is written by
`python -m tofa_edge.cli.reference > docs/cli.md`.

"""


def page() -> str:
    """Returns Markdown: the commands in the order of `tofa-edge --help`."""
    load_commands()
    from tofa_edge.cli.app import app

    modules = [f"tofa_edge.cli.{name}" for name in COMMANDS]  # whichever was imported before
    app.registered_commands.sort(key=lambda item: modules.index(item.callback.__module__))
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="tofa-edge", title=" ")
    body = text.partition("\n\n")[2].replace("* `--help`: Show this message and exit.\n", "")
    return INTRODUCTION + re.sub(r"  \[(.+)\]$", r" `\1`", body, flags=re.MULTILINE)


if __name__ == "__main__":
    print(page(), end="")
