"""By how much a process grows when a subnet is loaded and run: predicted and measured.

`python -m tofa_edge.benchmarks.studies.memory lite0.tofa --out memory.json` fits each engine's line
to 16 random subnets, and tests it, and the line that ships, on 30 others. Each is loaded in a
process of its own, in which the engine has run another network before.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import decoded, distinct, sample
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.finish import Finisher
from tofa_edge.prediction.memory import MEGA, peak_memory_mb
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

FITTED, TESTED = 16, 30
TARGETS = (("onnxruntime", "fp32"), ("tflite", "fp32"), ("onnxruntime", "int8"), ("tflite", "int8"))


def main() -> None:
    """Measures all subnets with each engine, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=Path("memory.json"))
    names = ("BACKEND", "PRECISION", "SUBNET")
    parser.add_argument("--one", nargs=3, metavar=names, help="in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_growth(options.bundle, *options.one)))
        return
    space = Bundle.open(options.bundle).space
    encodings = distinct(space, sample(space, np.random.default_rng(3), FITTED + TESTED))
    subnets, rows = decoded(space, encodings), {}
    for backend, precision in TARGETS:
        name = f"{backend} {precision}"
        each = [measured_growth(options.bundle, backend, precision, subnet) for subnet in subnets]
        grown, shipped = np.array(each) / MEGA, peak_memory_mb(space, encodings, backend, precision)
        rows[name] = {**_fitted(space, encodings, grown), **_errors("shipped", shipped, grown)}
        print(name, json.dumps(rows[name]), flush=True)
    found = {"made": made(), "tested": len(subnets) - FITTED, "engines": rows}
    options.out.write_text(json.dumps(found, indent=1))


def _growth(bundle: Path, backend: str, precision: str, subnet: str) -> int:
    finisher = Finisher(Bundle.open(bundle), Budget())
    cutter = finisher.cutter = Cutter(finisher.bundle)
    able = passing_engines(name=backend, threads=1)
    (engine,) = [e for e in able if (e.target.unit, e.target.precision) == ("cpu", precision)]
    first = engine.load(finisher.stored(cutter.space.smallest(), engine))
    first.run(specimen_images(cutter.space.resolutions[0])[:1])
    first.close()
    chosen = Subnet.from_json(subnet)
    artefact = engine.backend.build(finisher.stored(chosen, engine), engine.target)
    del finisher, cutter, first
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = _status("VmRSS")
    session = engine.backend.load(artefact, engine.target)
    for _ in range(3):
        session.run(specimen_images(chosen.resolution)[:1])
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Returns a figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return found * 1024


def measured_growth(bundle: Path, backend: str, precision: str, subnet: Subnet) -> int:
    """Returns by how many bytes a process of its own grows that loads and runs a subnet."""
    command = [sys.executable, "-m", "tofa_edge.benchmarks.studies.memory", str(bundle)]
    command += ["--one", backend, precision, subnet.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _fitted(space: Any, encodings: Any, grown: DoubleArray) -> dict[str, Any]:
    costs = tables(space).costs(encodings)
    parts = (np.ones(len(grown)), 4 * costs.parameters / MEGA, costs.peak_activation_bytes / MEGA)
    design = np.stack(parts, axis=1)
    seen = slice(0, FITTED)
    line = np.linalg.lstsq(design[seen] / grown[seen, None], np.ones(FITTED), rcond=None)[0]
    return {"line": [round(float(x), 3) for x in line], **_errors("fitted", design @ line, grown)}


def _errors(name: str, predicted: DoubleArray, grown: DoubleArray) -> dict[str, float]:
    off = np.abs(predicted[FITTED:] / grown[FITTED:] - 1)
    return {
        f"{name}_mean_error": round(float(off.mean()), 4),
        f"{name}_worst_error": round(float(off.max()), 4),
        f"{name}_within_15_percent": round(float((off <= 0.15).mean()), 4),
    }


if __name__ == "__main__":
    main()
