"""Commands print through tofa_edge/cli/output.py alone: there text is escaped, and JSON exact."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.repository.source_tree import Sources, imported, modules

OUTPUT = "tofa_edge.cli.output"
WITHOUT = ("tofa_edge.benchmarks.studies", "tofa_edge.benchmarks.evidence")  # not in the wheel
FOR_PROGRAMS = {  # their own output is read by a program, or is a page
    "tofa_edge.cli.reference", "tofa_edge.benchmarks.suite.loadgen",
}  # fmt: skip
PRINTERS = ("echo", "secho", "print_exc", "print_json")  # of typer and traceback; of rich
STREAMS = ("sys.stdout.write", "sys.stderr.write")


def other_ways(sources: Sources) -> Iterator[str]:
    """Yields what prints without the module for it: rich, print, typer.echo, streams."""
    for module, text in sources.items():
        if module == OUTPUT or module in FOR_PROGRAMS or module.startswith(WITHOUT):
            continue
        for name in imported(text, sources, names=True):
            if name.split(".")[0] in ("rich", "click") or name in ("typer.echo", "typer.secho"):
                yield f"{module} imports {name}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                first, last = called.split(".")[0], called.split(".")[-1]
                of_module = first in ("typer", "traceback", "rich") and last in PRINTERS
                if called == "print" or called in STREAMS or of_module:
                    yield f"{module}:{node.lineno} calls {called}"


def test_nothing_else_prints() -> None:
    assert [*other_ways(modules())] == []


def test_another_way_is_found() -> None:
    planted = {
        "tofa_edge.cli.one": "from rich.table import Table\nprint('a')",
        "tofa_edge.cli.two": "import sys, typer\ntyper.echo(1)\nsys.stdout.write('')",
        OUTPUT: "from rich.console import Console",
    }
    assert [*other_ways(planted)] == [
        "tofa_edge.cli.one imports rich.table.Table",
        "tofa_edge.cli.one:2 calls print",
        "tofa_edge.cli.two:2 calls typer.echo",
        "tofa_edge.cli.two:3 calls sys.stdout.write",
    ]
