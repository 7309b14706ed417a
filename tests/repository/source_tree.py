"""The source tree as text: its modules, the package of each, what it imports, and the levels."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "_version", "interruption", "storage"),
    ("architecture", "device", "budget", "trust"),
    ("network", "measurement", "device_profiles", "images", "backends.labelling"),
    ("backends", "backends.onnx", "prediction"),
    (
        "backends.ncnn", "backends.onnxruntime", "backends.openvino", "backends.reference",
        "backends.tensorrt", "backends.tflite", "bundle", "search", "train.config",
        "train.distributed",
    ),
    ("cutting", "train.data", "train.supernet", "benchmarks.result"),
    ("selftest", "serving", "train.objective"),
    ("deployment", "conformance", "train.run"),
    ("live",),
    ("tofa_edge", "benchmarks.report", "fleet", "train.after"),
    ("benchmarks.suite", "train.trainer", "train.pretrainer"),
    ("cli",),
    ("benchmarks.studies",),
    ("benchmarks.evidence",),
)  # fmt: skip
LEVEL = {package: number for number, level in enumerate(LEVELS) for package in level}
Sources = Mapping[str, str]  # module → its text


def modules() -> dict[str, str]:
    """Returns the text of every module by its name."""
    found = {}
    for top in ("tofa_edge", "backends", "benchmarks", "device_profiles"):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if parts[0] == "tofa_edge" else ("tofa_edge", *parts))
            found[name.removesuffix(".__init__")] = path.read_text()
    return found


def package(module: str) -> str:
    """Returns the package of a module: the longest entry of the list that its name begins with.

    The root itself, with the public names, is "tofa_edge".
    """
    parts = module.split(".")[1:]
    if parts == ["__main__"]:
        return "cli"
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in LEVEL:
            return ".".join(parts[:length])
    return ".".join(parts) or "tofa_edge"


def imported(text: str, known: Iterable[str], names: bool = False) -> Iterator[str]:
    """Yields every module of a text's imports, also of those inside functions.

    With `names`, what is imported from a module as well: "tofa_edge.budget.Budget".
    """
    modules = set(known)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if names or whole in modules else node.module
