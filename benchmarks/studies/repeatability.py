"""How far benches of one network differ from each other on this machine.

`python -m tofa_edge.benchmarks.studies.repeatability BUNDLE --out repeatability.json` measures one
network ten times, each in a process of its own, as `bench` measures a row. An unfinished run goes
on where it was; `--count 3` does three and stops.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.studies.trials import in_a_process, resumed
from tofa_edge.benchmarks.suite.bench import chosen_engines
from tofa_edge.benchmarks.suite.fields import latency_fields
from tofa_edge.benchmarks.suite.row import Effort, measurer_of
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.measurement.stopwatch import one_at_a_time
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

BENCHES = 10
EFFORT = Effort(runs=2000, seconds=8.0, most_seconds=12.0, most_runs=20_000)
MEDIAN_SPREAD, TAIL_SPREAD, MOST_FLAGGED = 0.03, 0.10, 2


def main() -> None:
    """Measures ten times, or once in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=Path("repeatability.json"))
    parser.add_argument("--engine", default="", help="by default the first with one thread")
    parser.add_argument("--count", type=int, default=BENCHES, help="benches to do now at most")
    parser.add_argument("--one", action="store_true", help="in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_bench(options.bundle, options.engine)))
        return
    words = [str(options.bundle), "--one", "--engine", options.engine]
    trial = partial(in_a_process, "repeatability", words)
    resumed(options.out, made(), "benches", BENCHES, options.count, trial, summary)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how far benches are from their median, and how many are flagged."""
    found: dict[str, Any] = {"benches": len(rows), "engine": rows[0]["engine"]}
    for name in ("p50_ms", "p99_ms"):
        values = np.array([row["latency"][name] for row in rows])
        median = float(np.median(values))
        found[name] = round(median, 4)
        found[f"{name}_farthest"] = round(float(np.abs(values / median - 1).max()), 4)
    found["flagged"] = sum(not row["valid"] for row in rows)
    kept = found["p50_ms_farthest"] <= MEDIAN_SPREAD and found["p99_ms_farthest"] <= TAIL_SPREAD
    return {**found, "within": bool(kept and found["flagged"] <= MOST_FLAGGED)}


def one_bench(path: Path, name: str = "") -> dict[str, Any]:
    """Returns the latency of the middle subnet, and whether it counts."""
    bundle = Bundle.open(path)
    engine = _engine(bundle, name)
    with one_at_a_time() as alone:
        measurer = measurer_of(bundle, [engine], alone)
        with measurer.finisher.finished(bundle.space.middle(), engine).model as model:
            image = specimen_images(model.input_size)[0]
            threads = engine.target.threads
            recording, reasons = measurer.recorded(lambda: model(image), threads, EFFORT)
    return {
        "engine": str(engine),
        "latency": latency_fields(recording),
        "valid": not reasons,
        "reasons": list(reasons),
    }


def _engine(bundle: Bundle, name: str) -> Engine:
    offered = [engine for engine in passing_engines(bundle) if engine.target.threads == 1]
    return (chosen_engines(passing_engines(bundle), [name]) if name else offered)[0]


if __name__ == "__main__":
    main()
