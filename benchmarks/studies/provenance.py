"""Stored results: every file in `benchmarks/results` says where it comes from."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tofa_edge._version import __version__
from tofa_edge.device.machine import fingerprint
from tofa_edge.storage.files import whole_file

PACKAGES = ("numpy", "onnxruntime", "openvino", "ai-edge-litert", "tflite-runtime", "torch")


def provenance() -> dict[str, Any]:
    """Returns what a result says of itself, under the key `made`.

    Its fields: `command`, as it was given, with names of files but not of folders; `machine`, in
    words; `versions` of this package, of Python and of what is installed of `PACKAGES`; `date`.
    """
    main = sys.modules["__main__"].__spec__
    words = [word.rsplit("/", 1)[-1] for word in sys.argv[1:]]
    command = ["python", "-m", main.name] if main else [sys.argv[0].rsplit("/", 1)[-1]]
    machine = fingerprint()
    processors = [f"{count} × {name}" for name, count in (machine.processors or {}).items()]
    parts = (machine.board, " + ".join(processors), machine.architecture, machine.operating_system)
    versions = {"tofa_edge": __version__, "python": platform.python_version()}
    return {
        "command": " ".join([*command, *words]),
        "machine": ", ".join(part for part in parts if part),
        "versions": {**versions, **installed_versions(PACKAGES)},
        "date": time.strftime("%Y-%m-%d"),
    }


def store(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a result and its provenance as JSON, whole or not at all.

    Args:
        path: of the file; its folder exists.
        result: its fields; one called "made" replaces the provenance.
    """
    with whole_file(path) as stream:
        stream.write(f"{json.dumps({'made': provenance(), **result}, indent=1)}\n".encode())


def stored(path: Path) -> dict[str, Any]:
    """Returns the fields of a stored result but for its provenance; none where there is no file."""
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    result.pop("made", None)
    return result


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    versions = {name: next(iter(distributions(name=name)), None) for name in names}
    return {name: each.version for name, each in versions.items() if each is not None}
