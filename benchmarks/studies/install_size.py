"""What an installation weighs, what importing it loads, and how long a warm start takes.

    pip wheel --no-deps --wheel-dir dist .
    python -m tofa_edge.benchmarks.studies.install_size parts.tofa dist/tofa_edge-*.whl

The wheel is installed into fresh environments: alone, then with each device extra. With each extra
the bundle is deployed once to choose, then nine times in new processes, timed from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.suite.fresh_process import starts
from tofa_edge.device.machine import fingerprint, state

EXTRAS = ("onnxruntime", "tflite", "openvino")
RUNS = 9
LARGEST = 6  # packages that are named
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
LOADED = """
import json, sys, time
before = set(sys.modules)
begun = time.perf_counter()
import tofa_edge
seconds = time.perf_counter() - begun
new = sorted({name for name in set(sys.modules) - before if not name.startswith("_")})
print(json.dumps({"seconds": seconds, "modules": new}))
"""


def main() -> None:
    """Measures and writes a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("wheel", type=Path, help="of this package")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/install_size.json"))
    options = parser.parse_args()
    bundle, wheel = options.bundle.resolve(), options.wheel.resolve()
    found: dict[str, Any] = {
        "made": made(),
        "device": fingerprint().to_dict(),
        "bundle_mb": round(bundle.stat().st_size / 1e6, 2),
        "runs": RUNS,
        "load_average": {},
        "installations": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for extra in (None, *EXTRAS):
            measured = _measured(Path(folder) / (extra or "base"), wheel, extra, bundle)
            found["installations"][extra or "base"] = measured
            found["load_average"][extra or "base"] = state().load_average
            print(extra or "base", json.dumps(measured), flush=True)
    options.out.write_text(json.dumps(found, indent=1))


def _measured(folder: Path, wheel: Path, extra: str | None, bundle: Path) -> dict[str, Any]:
    """Returns the size of an installation, what importing it costs, and its warm start."""
    python = _installed(folder, wheel, extra)
    (packages,) = folder.glob("lib/python3*/site-packages")
    sizes = {path.name: _size(path) / 1e6 for path in packages.iterdir()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]
    measured: dict[str, Any] = {
        "size_mb": round(sum(sizes.values()), 1),
        "largest_mb": {name: round(size, 1) for name, size in largest},
        "import": _import(python),
    }
    if extra is not None:
        environment = _environment(XDG_CACHE_HOME=str(folder / "cache"))
        starts(bundle, 1, python, environment, remember=True)
        measured["warm_start_s"] = starts(bundle, RUNS, python, environment, remember=True)
    return measured


def _installed(folder: Path, wheel: Path, extra: str | None) -> Path:
    """Installs into a fresh environment, without pip in it, and returns its Python."""
    make = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(make, check=True)
    python = folder / "bin/python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "--disable-pip-version-check",
        "-qq",
    ]
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    subprocess.run([*pip, "install", wanted], check=True)
    return python


def _import(python: Path) -> dict[str, Any]:
    """Returns the median time of `import tofa_edge`, and which modules it loads."""
    found = []
    for _ in range(RUNS):
        done = subprocess.run(
            [str(python), "-c", LOADED],
            cwd="/", env=_environment(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    seconds = float(np.median([item["seconds"] for item in found]))
    return {"seconds": round(seconds, 5), "modules": found[-1]["modules"]}


def _environment(**variables: str) -> Mapping[str, str]:
    shown = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return {**shown, **variables}


def _size(path: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for item in path.iterdir():
            yield from _files(item)
    else:
        yield path


if __name__ == "__main__":
    main()
