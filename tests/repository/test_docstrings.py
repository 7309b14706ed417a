"""What crosses packages says what it is: parameters, errors, and of arrays shape and dtype.

Names that another package imports, the public ones and those of the pages: elsewhere a line that
says what a name can't is enough. A docstring may leave out what another one says: a parameter that
is named like its type is told by that type, a method of a backend by the protocols, and an option
of a command by its help.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.repository.source_tree import ROOT, imported, modules, package
from tofa_edge import errors

ERRORS = {name for name in vars(errors) if name.endswith("Error")}
INHERITED = {"missing", "version", "targets", "build", "load", "run", "close"}  # by the protocols
ARRAY = re.compile(r"(?:FloatArray|ImageArray|Encodings|Indices|NDArray\[.*\]|(?:torch\.)?Tensor)$")
UNTYPED = re.compile(r"NDArray\[Any\]$|Tensor$")
_SIZE = r"[\w…]+(?:\([^()]*\))?(?: [/+·×] [\w…]+)?"
SHAPE = re.compile(rf"\((?:{_SIZE}, ?)+(?:{_SIZE})?\)|[Ss]calar|any shape|same shape|their shape")
DTYPE = re.compile(
    r"\b(?:u?int\d*|integers|floats?\d*|bool\w*|dtype|bytes|probabilities|logits|loss)\b"
)


@dataclass(frozen=True)
class Documented:
    """A public function, class or module, and where it stands."""

    where: str
    node: ast.AST
    text: str
    crosses: bool = False


@cache
def crossing() -> frozenset[str]:
    """The names that another package, a page of the docs or the package itself offers."""
    tree = modules()
    found = {
        name
        for module, text in tree.items()
        for name in imported(text, (), names=True)
        if package(name.rpartition(".")[0]) != package(module)
    }
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text()
        found |= set(re.findall(r"^::: (\S+)", text, re.MULTILINE))
        for module, names in re.findall(r"^from (tofa_edge\S*) import (.+)$", text, re.MULTILINE):
            found |= {f"{module}.{name.strip()}" for name in names.split(",")}
    return frozenset(found)


@cache
def public() -> tuple[Documented, ...]:
    found: list[Documented] = []

    def visit(body: list[ast.stmt], prefix: str, dotted: str, crosses: bool) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if is_told_elsewhere(node):
                    continue
                name, known = f"{prefix}{node.name}", f"{dotted}.{node.name}"
                seen = crosses or known in crossing()
                found.append(Documented(name, node, ast.get_docstring(node) or "", seen))
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{name}.", known, seen)

    for module, text in sorted(modules().items()):
        tree = ast.parse(text)
        where = module.removeprefix("tofa_edge.")
        found.append(Documented(where, tree, ast.get_docstring(tree) or ""))
        visit(tree.body, f"{where}: ", module, module in crossing())
    return tuple(found)


def is_told_elsewhere(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether another function of the name has the docstring: of an overload or a setter."""
    made = [ast.unparse(each) for each in node.decorator_list]
    return any(each == "overload" or each.endswith(".setter") for each in made)


def functions(crossing: bool = True) -> Iterator[tuple[Documented, ast.FunctionDef]]:
    for each in public():
        node = each.node
        if isinstance(node, ast.FunctionDef) and (each.crosses or not crossing):
            if each.text.startswith("See `"):
                continue
            yield each, node


def parameters(node: ast.FunctionDef) -> list[ast.arg]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    every += [arg for arg in (node.args.vararg, node.args.kwarg) if arg]
    return [arg for arg in every if arg.arg not in ("self", "cls") and arg.arg[0] != "_"]


@cache
def own_types() -> frozenset[str]:
    names = set()
    for text in modules().values():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.add(node.targets[0].id)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return frozenset(name for name in names if re.match(r"[A-Z][a-z]", name))


def told_by_its_type(arg: ast.arg) -> bool:
    """Whether the parameter is named like its type, whose own docstring says what it is."""
    if arg.arg == "rng":
        return True
    for name in re.findall(r"\w+", ast.unparse(arg.annotation) if arg.annotation else ""):
        if name in own_types() or name in ("Path", "device"):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
            names = (*words, "_".join(words))
            if arg.arg in names or arg.arg.removesuffix("s") in names:
                return True
    return False


def is_command(node: ast.FunctionDef) -> bool:
    """Whether typer shows it, with the help of each parameter."""
    return any(re.search(r"\.(?:command|callback)\(", ast.unparse(d)) for d in node.decorator_list)


def said(name: str, text: str) -> bool:
    """Whether a docstring has an entry for a name, alone or among others, or speaks of it."""
    entry = rf"^\s*(?:\w+, )*\*{{0,2}}{name}(?:, \w+)*: \S"
    return bool(re.search(rf"{entry}|`\*{{0,2}}{name}`", text, re.MULTILINE))


def undocumented(each: Documented, node: ast.FunctionDef) -> Iterator[str]:
    if is_command(node) or (each.where.startswith("backends.") and node.name in INHERITED):
        return
    for arg in parameters(node):
        if not said(arg.arg, each.text) and not told_by_its_type(arg):
            yield f"{each.where}({arg.arg})"


def raised(node: ast.AST) -> Iterator[str]:
    """Yields the errors of this package raised in a body itself, not in functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            made = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            if isinstance(made, ast.Name) and made.id in ERRORS:
                yield made.id
        yield from raised(child)


def unshaped(each: Documented, node: ast.FunctionDef) -> Iterator[str]:
    annotations = [arg.annotation for arg in parameters(node)] + [node.returns]
    arrays = [
        text
        for note in annotations
        if note and ARRAY.search(text := ast.unparse(note).split(" | ")[0])
    ]
    arrays = [text for text in arrays if not text.startswith(("Mapping", "dict"))]
    if arrays and not SHAPE.search(each.text):
        yield f"{each.where}: no shape"
    if any(UNTYPED.search(text) for text in arrays) and not DTYPE.search(each.text):
        yield f"{each.where}: no dtype"


def test_everything_public_is_walked() -> None:
    names = {each.where for each in public()}
    for wanted in (
        "live.deploy: deploy",
        "train.objective.losses: unified",
        "backends.protocol: Backend.build",
        "benchmarks.suite.bench: bench",
        "device_profiles.profile: Profile",
    ):
        assert wanted in names


def test_everything_public_has_a_docstring() -> None:
    missing = [each.where for each in public() if not each.text.strip()]
    studies = re.compile(r"benchmarks\.studies\.\w+: ")  # commands: their modules say what they do
    assert [where for where in missing if not studies.match(where)] == []


def test_every_parameter_and_result_is_annotated() -> None:
    assert [
        f"{each.where}({arg.arg})"
        for each, node in functions(crossing=False)
        for arg in parameters(node)
        if arg.annotation is None
    ] == []
    assert [each.where for each, node in functions(crossing=False) if node.returns is None] == []


def test_parameters_are_documented() -> None:
    assert [name for each, node in functions() for name in undocumented(each, node)] == []


def fields(node: ast.ClassDef) -> Iterator[ast.arg]:
    """Yields what one gives to make an instance: fields of a dataclass, or what __init__ takes."""
    is_dataclass = any("dataclass" in ast.unparse(made) for made in node.decorator_list)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            yield from parameters(item)
        if not is_dataclass or not isinstance(item, ast.AnnAssign):
            continue
        if isinstance(item.target, ast.Name) and item.target.id[0] != "_":
            yield ast.arg(item.target.id, item.annotation)


def test_fields_of_classes_are_documented() -> None:
    missing = [
        f"{each.where}.{arg.arg}"
        for each in public()
        if isinstance(each.node, ast.ClassDef) and each.crosses
        for arg in fields(each.node)
        if not said(arg.arg, each.text) and not told_by_its_type(arg)
    ]
    assert missing == []


def test_errors_are_documented() -> None:
    missing = [
        f"{each.where}: {name}"
        for each, node in functions()
        if not is_command(node)
        for name in sorted(set(raised(node)))
        if not re.search(rf"^Raises:\n(?:.*\n)*\s+(?:\w+, )*{name}\b", each.text, re.MULTILINE)
    ]
    assert missing == []


def test_arrays_have_shape_and_dtype() -> None:
    assert [name for each, node in functions() for name in unshaped(each, node)] == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def f(size: int) -> None: 'Does it.'", ["f(size)"]),
        ("def f(size: int) -> None: 'Does it for a `size`.'", []),
        ("def f(engine: Engine) -> None: 'Does it.'", []),
        ("def f(image: FloatArray) -> None: 'Does it to an `image`.'", ["f: no shape"]),
        ("def f(image: Tensor) -> None: 'Does it to an `image` (N, 3).'", ["f: no dtype"]),
        ("def f(image: Tensor) -> None: 'Does it to an `image`, float32 (N, 3).'", []),
    ],
)
def test_what_is_missing_is_found(source: str, wrong: list[str]) -> None:
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    each = Documented("f", node, ast.get_docstring(node) or "")
    assert [*undocumented(each, node), *unshaped(each, node)] == wrong


def test_an_error_in_the_body_is_found() -> None:
    body = "def f():\n if x:\n  raise BudgetError('no')\n def g(): raise SpaceError('no')"
    assert list(raised(ast.parse(body).body[0])) == ["BudgetError"]
