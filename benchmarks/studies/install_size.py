"""What an installation weighs, what importing it loads, and how long a warm start takes.

    pip wheel --no-deps --wheel-dir dist .
    python -m tofa_edge.benchmarks.studies.install_size parts.tofa dist/tofa_edge-*.whl

The wheel is installed into fresh environments: alone, then with each device extra. With each extra
the bundle is deployed once to choose, then nine times in new processes, timed from outside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tofa_edge.benchmarks.studies.command import RESULTS, Row, answer, options, store
from tofa_edge.device.machine import fingerprint, state
from tofa_edge.storage.plain import to_plain

EXTRAS = ("onnxruntime", "tflite", "openvino")
RUNS = 9
PATIENCE_S = 300.0
LARGEST = 6  # packages that are named
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
IMPORT = """
import json, sys, time
before = set(sys.modules)
begun = time.perf_counter()
import tofa_edge
seconds = time.perf_counter() - begun
new = sorted({name for name in set(sys.modules) - before if not name.startswith("_")})
print(json.dumps({"seconds": seconds, "modules": new}))
"""
DEPLOY = """
import json, sys, time
begun = time.perf_counter()
from tofa_edge import deploy
imported = time.perf_counter()
model = deploy(sys.argv[1])
deployed = time.perf_counter()
import numpy
model(numpy.zeros((model.input_size, model.input_size, 3), numpy.uint8))
done = time.perf_counter()
parts = {f"deploy_{name}": spent for name, spent in model.explanation.seconds.items()}
print(json.dumps({
    "import": imported - begun, "deploy": deployed - imported,
    "first_prediction": done - deployed, "processor": time.process_time(), **parts,
}))
"""


def main() -> None:
    given = options(__doc__, "bundle", "wheel", out=RESULTS / "install_size.json")
    bundle, wheel = given.bundle.resolve(), given.wheel.resolve()
    installations, load_average = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for extra in (None, *EXTRAS):
            name = extra or "base"
            installations[name] = _measured(Path(folder) / name, wheel, extra, bundle)
            load_average[name] = state().load_average
            print(name, json.dumps(installations[name]), flush=True)
    result = {
        "device": to_plain(fingerprint()),
        "bundle_mb": round(bundle.stat().st_size / 1e6, 2),
        "runs": RUNS,
        "load_average": load_average,
        "installations": installations,
    }
    store(given.out, result)


def _measured(folder: Path, wheel: Path, extra: str | None, bundle: Path) -> Row:
    """Returns the size of an installation, what importing it costs, and its warm start."""
    python = _installed(folder, wheel, extra)
    (packages,) = folder.glob("lib/python3*/site-packages")
    sizes = {path.name: _size(path) / 1e6 for path in packages.iterdir()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]
    imports = [
        answer("-c", IMPORT, python=python, cwd="/", env=_environment()) for _ in range(RUNS)
    ]
    seconds = round(float(np.median([row["seconds"] for row in imports])), 5)
    measured: Row = {
        "size_mb": round(sum(sizes.values()), 1),
        "largest_mb": {name: round(size, 1) for name, size in largest},
        "import": {"seconds": seconds, "modules": imports[-1]["modules"]},
    }
    if extra is not None:
        environment = _environment(XDG_CACHE_HOME=str(folder / "cache"))
        _, *rows = [_start(bundle, python, environment) for _ in range(1 + RUNS)]
        measured["warm_start_s"] = {
            name: round(float(np.median([row.get(name, 0) for row in rows])), 4) for name in rows[0]
        }
    return measured


def _start(bundle: Path, python: Path, environment: Mapping[str, str]) -> Row:
    """Returns the seconds of a deployment; "process" is the whole, "processor" the cores' work."""
    begun = time.perf_counter()
    parts = answer("-c", DEPLOY, str(bundle), python=python, env=environment, timeout=PATIENCE_S)
    return {"process": time.perf_counter() - begun, **parts}


def _installed(folder: Path, wheel: Path, extra: str | None) -> Path:
    """Installs into a fresh environment, without pip in it, and returns its Python."""
    python, package = folder / "bin/python", f"{wheel}[{extra}]" if extra else str(wheel)
    quiet = ("--disable-pip-version-check", "-qq")
    for words in (
        ("venv", "--without-pip", str(folder)),
        ("pip", "--python", str(python), *quiet, "install", package),
    ):
        subprocess.run([sys.executable, "-m", *words], check=True)
    return python


def _environment(**variables: str) -> Mapping[str, str]:
    shown = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return {**shown, **variables}


def _size(path: Path) -> int:
    """Returns what a file takes on the disk, or all files of a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(map(_size, path.iterdir()))
    return path.lstat().st_blocks * 512


if __name__ == "__main__":
    main()
