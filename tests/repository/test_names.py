"""One name for one thing: no two public classes share a name, and each type of array has one."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from tests.repository.source_tree import Sources, modules


def shared(names: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Returns what several modules define, with these modules, of pairs of a name and a module."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, module in names:
        places[name].append(module)
    return {name: found for name, found in places.items() if len(found) > 1}


def public_classes(sources: Sources) -> Iterator[tuple[str, str]]:
    for module, text in sources.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, module


def array_aliases(sources: Sources) -> Iterator[tuple[str, str, str]]:
    """Yields each alias of a type of array, that type, and the module."""
    for module, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                (target, *_) = node.targets if isinstance(node, ast.Assign) else (node.target,)
                meant = ast.unparse(node.value)
                if meant.removeprefix("npt.").startswith("NDArray["):
                    yield ast.unparse(target), meant.removeprefix("npt."), module


def test_no_two_public_classes_share_a_name() -> None:
    assert shared(public_classes(modules())) == {}


def test_each_array_alias_stands_once() -> None:
    aliases = [*array_aliases(modules())]
    assert {"FloatArray", "DoubleArray", "ImageArray", "IndexArray"} <= {a for a, _, _ in aliases}
    assert shared((alias, module) for alias, _, module in aliases) == {}
    assert shared((meant, f"{module}.{alias}") for alias, meant, module in aliases) == {}


def test_what_is_planted_is_found() -> None:
    planted = {
        "one": "class Fault: ...\nclass _Own: ...\nA = NDArray[np.int8]",
        "other": "class Fault: ...\nclass _Own: ...\nif True:\n    B: TypeAlias = NDArray[np.int8]",
    }
    assert shared(public_classes(planted)) == {"Fault": ["one", "other"]}
    assert [alias for alias, *_ in array_aliases(planted)] == ["A", "B"]
