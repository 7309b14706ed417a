"""Packages import lower ones only, and torch is imported where networks are trained alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

import pytest

from tests.repository.source_tree import LEVEL, ROOT, Sources, imported, modules, package

TORCH = ("torch", "torchvision", "kornia", "lightning", "lightning_fabric", "safetensors.torch")
WITH_TORCH = ("tofa_edge.train", "tofa_edge.benchmarks.studies")


def upward(sources: Sources) -> list[str]:
    """Returns the imports of a package on the same level or a higher one."""
    wrong = []
    for module, text in sorted(sources.items()):
        here = package(module)
        for other in sorted(set(imported(text, sources))):
            if not other.startswith("tofa_edge") or package(other) == here:
                continue
            there = package(other)
            if there not in LEVEL or LEVEL.get(here, -1) <= LEVEL[there]:
                wrong.append(f"{module} imports {other}")
    return wrong


def circles(sources: Sources) -> list[list[str]]:
    """Returns circles of imports between modules, those inside a package too."""
    graph = {m: sorted(set(imported(text, sources)) & {*sources}) for m, text in sources.items()}
    found, done = [], set()

    def visit(module: str, path: Sequence[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for other in graph[module]:
                if other != module:
                    visit(other, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return found


def test_every_package_has_a_level() -> None:
    empty = {"tofa_edge.train", "tofa_edge.benchmarks"}  # only a docstring
    assert sorted(m for m in modules() if package(m) not in LEVEL and m not in empty) == []
    assert set(LEVEL) == {package(module) for module in modules()} - {"train", "benchmarks"}


def test_packages_import_lower_ones_only() -> None:
    assert upward(modules()) == []


def test_there_is_no_circle() -> None:
    assert circles(modules()) == []


def test_a_planted_upward_import_is_found() -> None:
    inside = "def later():\n    from tofa_edge.deployment.deploy import deployed\n"
    planted = {**modules(), "tofa_edge.cutting.planted": inside}
    assert upward(planted) == ["tofa_edge.cutting.planted imports tofa_edge.deployment.deploy"]


@pytest.mark.parametrize("target", ["tofa_edge.conformance.suite", "tofa_edge.cli.app"])
def test_a_planted_import_of_a_neighbour_is_found(target: str) -> None:
    planted = {**modules(), "tofa_edge.deployment.planted": f"import {target}"}
    assert upward(planted) == [f"tofa_edge.deployment.planted imports {target}"]


def test_a_planted_circle_is_found() -> None:
    one, other = "tofa_edge.cutting.one", "tofa_edge.cutting.other"
    planted = {one: f"import {other}", other: "from tofa_edge.cutting import one"}
    assert circles(planted) == [[one, other, one]]


def test_torch_is_imported_where_networks_are_trained() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, text in modules().items()
        if not module.startswith(WITH_TORCH)
        for other in imported(text, ())
        if other.startswith(TORCH)
    ]
    assert wrong == []


def test_rooms_are_small() -> None:
    assert len([*(ROOT / "tofa_edge").glob("*.py")]) <= 7
    folders = {path.parent for top in ("tofa_edge", "backends", "benchmarks") for path in (
        ROOT / top).rglob("*.py")}  # fmt: skip
    crowded = {f.name: len([*f.glob("*.py")]) for f in folders if f.name != "studies"}
    assert {name: count for name, count in crowded.items() if count > 16} == {}


def test_the_map_shows_every_level() -> None:
    """ARCHITECTURE.md's first table has a row for each level, with each package of it."""
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if re.match(r"\| level \|", line))
    rows = [*takewhile(lambda line: line.startswith("|"), lines[start + 2 :])]
    shown = {
        name: int(cells[1])
        for cells in (row.split("|") for row in rows)
        for name in re.findall(r"`([\w./]+?)/?`", cells[2])
    }
    assert {name.replace("/", "."): level for name, level in shown.items()} == LEVEL
