"""By how much a process grows when a subnet is loaded and run: predicted and measured.

`python -m tofa_edge.benchmarks.studies.memory lite0.tofa --out memory.json` fits each engine's line
to 16 random subnets, and tests it, and the line that ships, on 30 others. Each is loaded in a
process of its own, in which the engine has run another network before.
"""

from __future__ import annotations

import ctypes
import gc
import json
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.benchmarks.studies.command import (
    Row,
    memory_bytes,
    options,
    random_encodings,
    store,
    study_answer,
)
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.build import stored_network
from tofa_edge.prediction.memory import MEGA, peak_memory_mb
from tofa_edge.selftest.calibrating import calibrator
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

FITTED, TESTED = 16, 30
TARGETS = {  # backend and precision by the name of a result's row
    "onnxruntime": ("onnxruntime", "fp32"),
    "tflite": ("tflite", "fp32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "tflite int8": ("tflite", "int8"),
}


def main() -> None:
    metavar = ("BACKEND", "PRECISION", "SUBNET")
    one = {"nargs": 3, "metavar": metavar, "help": "in this process"}
    given = options(__doc__, "bundle", out=Path("memory.json"), one=one)
    if given.one:
        print(json.dumps(_growth(given.bundle, *given.one)))
        return
    space = Bundle.open(given.bundle).space
    encodings = random_encodings(space, 3, FITTED + TESTED)
    subnets, rows = decoded(space, encodings), {}
    for name, target in TARGETS.items():
        each = [measured_growth(given.bundle, *target, subnet) for subnet in subnets]
        grown, shipped = np.array(each) / MEGA, peak_memory_mb(space, encodings, *target)
        rows[name] = {**_fitted(space, encodings, grown), **_errors("shipped", shipped, grown)}
        print(name, json.dumps(rows[name]), flush=True)
    store(given.out, {"tested": len(subnets) - FITTED, "engines": rows})


def _growth(bundle: Path, backend: str, precision: str, subnet: str) -> int:
    cutter = Cutter(Bundle.open(bundle))
    able = passing_engines(name=backend, threads=1)
    (engine,) = [e for e in able if (e.target.unit, e.target.precision) == ("cpu", precision)]
    by = calibrator(engine)
    first = engine.load(stored_network(cutter, cutter.space.smallest(), engine, by))
    first.run(specimen_images(cutter.space.resolutions[0])[:1])
    first.close()
    chosen = Subnet.from_json(subnet)
    artefact = engine.backend.build(stored_network(cutter, chosen, engine, by), engine.target)
    del cutter, first, by
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = memory_bytes("VmRSS")
    session = engine.backend.load(artefact, engine.target)
    for _ in range(3):
        session.run(specimen_images(chosen.resolution)[:1])
    return memory_bytes("VmHWM") - before


def measured_growth(bundle: Path, backend: str, precision: str, subnet: Subnet) -> int:
    """Returns by how many bytes a process of its own grows that loads and runs a subnet."""
    return int(study_answer("memory", bundle, "--one", backend, precision, subnet.to_json()))


def _fitted(space: Any, encodings: Any, grown: DoubleArray) -> Row:
    costs = tables(space).costs(encodings)
    parts = (np.ones(len(grown)), 4 * costs.parameters / MEGA, costs.peak_activation_bytes / MEGA)
    design = np.stack(parts, axis=1)
    weighted = design[:FITTED] / grown[:FITTED, None]
    line = np.linalg.lstsq(weighted, np.ones(FITTED), rcond=None)[0]
    return {"line": [round(float(x), 3) for x in line], **_errors("fitted", design @ line, grown)}


def _errors(name: str, predicted: DoubleArray, grown: DoubleArray) -> dict[str, float]:
    errors = np.abs(predicted[FITTED:] / grown[FITTED:] - 1)
    return {
        f"{name}_mean_error": round(float(errors.mean()), 4),
        f"{name}_worst_error": round(float(errors.max()), 4),
        f"{name}_within_15_percent": round(float((errors <= 0.15).mean()), 4),
    }


if __name__ == "__main__":
    main()
