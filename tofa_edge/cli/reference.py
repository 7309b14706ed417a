"""Every command with its arguments and options, as a page of the docs.

    python -m tofa_edge.cli.reference > docs/cli.md

Taken from the commands themselves; a test compares.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import getdoc
from typing import Any

from typer.models import ArgumentInfo, OptionInfo
from typer.utils import get_params_from_function

import tofa_edge.cli

INTRODUCTION = """\
# Commands

`tofa-edge COMMAND --help` says the same. This page is written by
`python -m tofa_edge.cli.reference > docs/cli.md`.
"""


VALUES = {"int": "INTEGER", "float": "FLOAT", "Path": "PATH", "str": "TEXT"}


@dataclass(frozen=True)
class Shown:
    """An argument or an option, as a reader sees it.

    Attributes:
        called: such as "--latency-ms FLOAT", or "BUNDLE".
        help: what it is for.
        default: as it is typed; None where there is nothing to say.
        required: whether the command fails without.
        positional: whether it is an argument.
    """

    called: str
    help: str
    default: str | None
    required: bool
    positional: bool


def page() -> str:
    """Returns Markdown: what all commands have in common, then one section for each, by name."""
    for module in pkgutil.iter_modules(tofa_edge.cli.__path__):
        if module.name != "reference":
            importlib.import_module(f"{tofa_edge.cli.__name__}.{module.name}")
    from tofa_edge.cli.app import app, options

    parts = [INTRODUCTION, _paragraphs(app.info.help), *_tables(parameters(options))]
    commands = {
        each.callback.__name__: each.callback for each in app.registered_commands if each.callback
    }
    for name, callback in sorted(commands.items()):
        shown = parameters(callback)
        words = [
            item.called if item.required else f"[{item.called}]"
            for item in shown
            if item.positional
        ]
        words += [item.called for item in shown if item.required and not item.positional]
        usage = " ".join(["tofa-edge", name, *words, "[OPTIONS]"])
        parts += [
            f"## {name}",
            f"```\n{usage}\n```",
            _paragraphs(getdoc(callback)),
            *_tables(shown),
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def parameters(command: Callable[..., Any]) -> list[Shown]:
    """Returns the arguments and options of a command, in their order."""
    found = get_params_from_function(command).values()
    return [_shown(each.name, each.annotation, each.default) for each in found]


def _shown(name: str, annotation: Any, info: Any) -> Shown:
    assert isinstance(info, ArgumentInfo | OptionInfo)
    required, default = info.default is ..., None
    kind = next((VALUES[word] for word in VALUES if word in str(annotation)), "")
    if isinstance(info, ArgumentInfo):
        called = info.metavar or name.upper()
    else:
        declared = info.param_decls or (f"--{name.replace('_', '-')}",)
        value = f" {info.metavar or kind}" if kind else ""
        called = ", ".join(f"{option}{value}" for option in declared)
    if not required and info.default is not None and info.default is not False:
        default = str(info.default) or None
    return Shown(called, info.help or "", default, required, isinstance(info, ArgumentInfo))


def _tables(shown: list[Shown]) -> Iterator[str]:
    """Yields a table of arguments and one of options, where there are any."""
    for positional, title in ((True, "argument"), (False, "option")):
        rows = [
            f"| `{item.called}` | {_paragraphs(item.help)}{_default(item)} |"
            for item in shown
            if item.positional is positional
        ]
        if rows:
            yield "\n".join([f"| {title} | |", "|---|---|", *rows])


def _default(item: Shown) -> str:
    if item.required and not item.positional:
        return " Required."
    return "" if item.default is None else f" Default: `{item.default}`."


def _paragraphs(text: str | None) -> str:
    """Returns a help text with each paragraph on a line of its own, fit for a cell of a table."""
    paragraphs = (text or "").replace("|", "\\|").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    print(page(), end="")
