"""Where a stored result comes from: every file in `benchmarks/results` says it of itself."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tofa_edge._version import __version__
from tofa_edge.device.machine import fingerprint
from tofa_edge.storage.files import whole_file

PACKAGES = ("numpy", "onnxruntime", "openvino", "ai-edge-litert", "tflite-runtime", "torch")


def made() -> dict[str, Any]:
    """Returns what a result says of itself, under the key `made`.

    Its fields: `command`, as it was given, with names of files but not of folders; `machine`, in
    words; `versions` of this package, of Python and of what is installed of `PACKAGES`; `date`.
    """
    main = sys.modules["__main__"].__spec__
    words = [word.rsplit("/", 1)[-1] for word in sys.argv[1:]]
    command = ["python", "-m", main.name] if main else [sys.argv[0].rsplit("/", 1)[-1]]
    return {
        "command": " ".join([*command, *words]),
        "machine": _machine(),
        "versions": {"tofa_edge": __version__, "python": platform.python_version(), **_packages()},
        "date": time.strftime("%Y-%m-%d"),
    }


def store(path: Path, found: Mapping[str, Any]) -> None:
    """Writes a result as JSON, whole or not at all."""
    with whole_file(path) as stream:
        stream.write(f"{json.dumps(found, indent=1)}\n".encode())


def _machine() -> str:
    here = fingerprint()
    processors = " + ".join(f"{count} × {name}" for name, count in (here.processors or {}).items())
    words = (here.board, processors, here.architecture, here.operating_system)
    return ", ".join(word for word in words if word)


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
