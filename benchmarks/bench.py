"""`tofa-edge bench`: what a bundle does on this machine, as figures that can be kept.

Cold start split into its parts, latency percentiles of every engine and thread count, and the front
of latency and accuracy, each point predicted first and then measured.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.backends import Engine, working
from tofa_edge.budget import Budget
from tofa_edge.bundle import Bundle
from tofa_edge.choosing import Chooser, Pick
from tofa_edge.cutting import Cutter
from tofa_edge.device import fingerprint, state
from tofa_edge.errors import BackendError, BundleError
from tofa_edge.measurement import Latency, one_at_a_time
from tofa_edge.screening import Wanted, candidates_here
from tofa_edge.workbench import Workbench

SCHEMA = 1
FRONT, QUICK_FRONT = 12, 8
COLD_STARTS, QUICK_COLD_STARTS = 5, 2
START = """
import json, sys, time
begun = time.perf_counter()
from tofa_edge import deploy
imported = time.perf_counter()
model = deploy(sys.argv[1], remember=json.loads(sys.argv[2]))
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

Tell = Callable[[str], None]


def bench(
    bundle: Path, out: Path, quick: bool = False, tell: Tell = lambda line: None
) -> dict[str, Any]:
    """Measures a bundle on this machine and writes `bench-<bundle>-<date>.json` into a folder.

    Args:
        bundle: a `.tofa` file.
        out: folder, made if it is not there.
        quick: fewer repeats: within two minutes.
        tell: called with a line of text after each step.

    Returns:
        what was written.

    Raises:
        BundleError: the bundle is damaged, or the folder cannot be written.
        BackendError: no engine works here.
    """
    opened = Bundle.open(bundle)
    _check_folder(out)
    begun = time.time()
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "tofa_edge": __version__,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
        "bundle": {"name": bundle.name, "digest": opened.digest},
        "device": fingerprint().to_dict(),
        "state_before": state().to_dict(),
        "versions": {name: item.version() for name, item in working().items()},
        "python": platform.python_version(),
    }
    with one_at_a_time() as alone:
        found["alone"] = alone
        found["cold_start_s"] = starts(bundle, QUICK_COLD_STARTS if quick else COLD_STARTS)
        tell(f"cold start: {_told(found['cold_start_s'])}")
        bench_ = Workbench(opened, Budget(), tell)
        bench_.cutter = Cutter(opened)
        found |= _measured(bench_, QUICK_FRONT if quick else FRONT)
    found["state_after"] = state().to_dict()
    found["seconds"] = round(time.time() - begun, 1)
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(begun))
    _write(out / f"bench-{bundle.stem}-{name}.json", found)
    return found


def starts(
    bundle: Path,
    repeats: int,
    python: str | Path = sys.executable,
    environment: Mapping[str, str] | None = None,
    remember: bool = False,
) -> dict[str, float]:
    """Returns medians in seconds of the parts of a start, each in a new process.

    "process" is the whole, from outside; "processor" is how long cores worked for it.

    Args:
        bundle: deployed without a budget.
        repeats: how often.
        python: that runs it.
        environment: of the process; None is this one's.
        remember: whether what was chosen before is used and kept.

    Raises:
        BackendError: it fails.
    """
    rows, words = [], ["-c", START, str(bundle), json.dumps(remember)]
    for _ in range(repeats):
        begun = time.perf_counter()
        command = [str(python), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - begun
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:]
            raise BackendError(f"{bundle}: its deployment failed in a new process: {said}")
        rows.append({"process": whole, **json.loads(done.stdout.splitlines()[-1])})
    names = rows[0]
    return {name: round(float(np.median([row.get(name, 0) for row in rows])), 4) for name in names}


def _measured(bench: Workbench, points: int) -> dict[str, Any]:
    able = candidates_here(bench, bench.cutter.space.middle(), Wanted())
    chooser = Chooser(bench.cutter, Budget(), able[:1], np.random.default_rng(0))
    chooser.measure(bench.quickly_measured)
    front = [_point(bench, pick) for pick in chooser.front(points)]
    misses = [abs(row["predicted_p95_ms"] / row["latency"]["p95_ms"] - 1) for row in front]
    return {
        "engines": [
            {"engine": s.engine, "reason": s.reason, "latency": s.latency and _plain(s.latency)}
            for s in bench.explanation.screened
        ],
        "learned_from": [
            {"subnet": m.subnet.to_json(), "latency": _plain(m.latency)}
            for m in bench.explanation.measured
        ],
        "predicts_accuracy": chooser.predicts_accuracy,
        "front": front,
        "mean_prediction_error": round(float(np.mean(misses)), 4) if misses else None,
    }


def _point(bench: Workbench, pick: Pick) -> dict[str, Any]:
    engine: Engine = pick.engine
    made = bench.finished(pick.subnet, engine, pick.accuracy, pick.predicted_ms)
    with made.model:
        return {
            "subnet": pick.subnet.to_json(),
            "engine": str(engine),
            "mmacs": round(made.measured.macs / 1e6, 2),
            "expected_accuracy": round(pick.accuracy, 4),
            "predicted_p95_ms": round(pick.predicted_ms, 4),
            "latency": _plain(made.measured.latency),
            "artefact_bytes": len(made.artefact),
        }


def _plain(latency: Latency) -> dict[str, Any]:
    fields = dataclasses.asdict(latency)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in fields.items()}


def _told(parts: dict[str, float]) -> str:
    names = ("process", "import", "deploy", "first_prediction")
    return ", ".join(f"{name.replace('_', ' ')} {parts[name]:.2f} s" for name in names)


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror or error}") from error


def _write(path: Path, found: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(found, indent=1))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from error
