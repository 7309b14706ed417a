"""What needs a new process: the parts of a cold start, and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge import backends
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.benchmarks.result.row_parts import ColdStart
from tofa_edge.errors import BackendError

COLD = """
import json, sys, time
begun = time.perf_counter()
from tofa_edge.benchmarks.suite.fresh_process import engine_of, parts_of_a_start
engine = engine_of(json.loads(sys.argv[2]))
imported = time.perf_counter() - begun
print(json.dumps({"import_s": imported, **parts_of_a_start(sys.argv[1], engine, sys.argv[3])}))
"""
SERVE = """
import json, sys
from tofa_edge.benchmarks.suite.fresh_process import engine_of, peak_of_serving
print(peak_of_serving(sys.argv[1], engine_of(json.loads(sys.argv[2])), int(sys.argv[3])))
"""
PATIENCE_S = 300.0
SERVED = 10


def cold_start(bundle: Path, engine: Engine, subnet: str, repeats: int) -> ColdStart:
    """Returns what the parts of a first start take, each in a new process: medians."""
    words = [sys.executable, "-c", COLD, str(bundle), engine_words(engine), subnet]
    rows = []
    for _ in range(repeats):
        spent, parts = in_new_process(words, f"{engine}: a start")
        rows.append({"process_s": spent, **parts})
    medians = {name: round(float(np.median([row[name] for row in rows])), 4) for name in rows[0]}
    peak = int(medians.pop("peak_memory_bytes"))
    return ColdStart(**medians, runs=repeats, peak_memory_bytes=peak)


def peak_memory(artefact: bytes, engine: Engine, size: int) -> int:
    """Returns the most bytes that a process takes which only loads an artefact and runs it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artefact"
        path.write_bytes(artefact)
        words = [sys.executable, "-c", SERVE, str(path), engine_words(engine), str(size)]
        return int(in_new_process(words, f"{engine}: a new process")[1])


def engine_of(fields: Mapping[str, Any]) -> Engine:
    """Returns the engine that a process was asked for; what it needs is imported after that."""
    backend = backends.backend(str(fields["backend"]))
    target = Target(str(fields["unit"]), str(fields["precision"]), int(fields["threads"]))
    backend.targets()
    return Engine(backend, target)


def parts_of_a_start(bundle: str, engine: Engine, subnet: str) -> dict[str, float]:
    """Returns the parts of a start in this process but the imports, see `cold_start`."""
    from tofa_edge.architecture.space import Subnet
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.cutting.cutter import Cutter
    from tofa_edge.cutting.ranges import ready
    from tofa_edge.selftest.calibrating import calibrator
    from tofa_edge.selftest.golden import specimen_images

    times = {"begin": time.perf_counter()}

    def done(part: str) -> None:
        times[part] = time.perf_counter()

    opened, wanted = Bundle.open(Path(bundle)), Subnet.from_json(subnet)
    done("open_s")
    cutter = Cutter(opened)
    cutter.stored_network(wanted)
    done("cut_s")
    by = calibrator(engine, opened)
    network = cutter.network(wanted, by)
    done("calibrate_s")
    if engine.target.is_integer:
        network = ready(network, engine.target, cutter.images(wanted.resolution), by)
        done("quantise_s")
    artefact = engine.backend.build(network, engine.target)
    done("build_s")
    session = engine.backend.load(artefact, engine.target)
    done("load_s")
    session.run(specimen_images(wanted.resolution)[:1])
    done("first_run_s")
    seconds = np.diff([*times.values()]).tolist()
    return dict(zip([*times][1:], seconds, strict=True)) | {"peak_memory_bytes": _peak()}


def peak_of_serving(path: str, engine: Engine, size: int) -> int:
    """Returns the peak memory of this process in bytes, after some predictions."""
    from tofa_edge.selftest.golden import specimen_images

    session = engine.backend.load(Path(path).read_bytes(), engine.target)
    for _ in range(SERVED):
        session.run(specimen_images(size, 1))
    return _peak()


def _peak() -> int:
    """Returns this process's peak; getrusage would count the one that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return found * 1024


def engine_words(engine: Engine) -> str:
    """Returns an engine as a word of a command line, for `engine_of`."""
    target = engine.target
    fields = {"unit": target.unit, "precision": target.precision, "threads": target.threads}
    return json.dumps({"backend": engine.backend.name, **fields})


def in_new_process(
    command: list[str], what: str, patience_s: float = PATIENCE_S, folder: str | None = None
) -> tuple[float, Any]:
    """Returns the seconds that a command takes, and the JSON in the last line it prints."""
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=patience_s, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"{what} took more than {patience_s:g} s") from error
    spent = time.perf_counter() - begun
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise BackendError(f"{what} failed in a new process: {last}")
    return spent, json.loads(done.stdout.splitlines()[-1])
