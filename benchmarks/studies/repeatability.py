"""How far benchmarks of one network differ from each other on this machine.

`python -m tofa_edge.benchmarks.studies.repeatability BUNDLE --out repeatability.json` measures one
network ten times, each in a process of its own, as `bench` measures a row. An unfinished run goes
on where it was; `--count 3` does three and stops.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np

from tofa_edge.benchmarks.studies.command import Row, options, resume_trials, study_answer
from tofa_edge.benchmarks.suite.bench import chosen_engines
from tofa_edge.benchmarks.suite.fields import rounded
from tofa_edge.benchmarks.suite.row import Effort, measurer_of
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.measure import unexplained
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines
from tofa_edge.storage.plain import to_plain

BENCHES = 10
EFFORT = Effort(runs=2000, seconds=8.0, most_seconds=12.0, most_runs=20_000)
MEDIAN_SPREAD, TAIL_SPREAD, MOST_FLAGGED = 0.03, 0.10, 2


def main() -> None:
    given = options(
        __doc__, "bundle", out=Path("repeatability.json"), one=(False, "in this process"),
        engine=("", "by default the first with one thread"),
        count=(BENCHES, "benchmarks to do now at most"),
    )  # fmt: skip
    if given.one:
        print(json.dumps(_bench(given.bundle, given.engine)))
        return
    words = (given.bundle, "--one", "--engine", given.engine)
    trial = partial(study_answer, "repeatability", *words)
    resume_trials(given.out, "benches", (BENCHES, given.count), trial, _summary)


def _summary(rows: list[Row]) -> Row:
    """Returns how far benchmarks are from their median, and how many are flagged."""
    summary: Row = {"benches": len(rows), "engine": rows[0]["engine"]}
    for name in ("p50_ms", "p99_ms"):
        values = np.array([row["latency"][name] for row in rows])
        median = float(np.median(values))
        summary[name] = round(median, 4)
        summary[f"{name}_farthest"] = round(float(np.abs(values / median - 1).max()), 4)
    summary["flagged"] = sum(not row["valid"] for row in rows)
    within = (
        summary["p50_ms_farthest"] <= MEDIAN_SPREAD
        and summary["p99_ms_farthest"] <= TAIL_SPREAD
        and summary["flagged"] <= MOST_FLAGGED
    )
    return {**summary, "within": bool(within)}


def _bench(path: Path, name: str) -> Row:
    """Returns the latency of the middle subnet, and whether it counts."""
    bundle = Bundle.open(path)
    engines = passing_engines(bundle)
    one_thread = [engine for engine in engines if engine.target.threads == 1]
    engine = chosen_engines(engines, [name])[0] if name else one_thread[0]
    with measuring_turn() as turn:
        measurer = measurer_of(bundle, [engine], turn != "busy")
        finished = measurer.device.finish(bundle.space.middle(), engine)
        subnet = finished.measured.subnet
        with unexplained(bundle, finished.session, subnet, engine) as model:
            run = partial(model, specimen_images(model.input_size)[0])
            recording, reasons = measurer.recorded(run, engine.target.threads, EFFORT)
    row = {"engine": str(engine), "latency": to_plain(rounded(recording.latency))}
    return {**row, "valid": not reasons, "reasons": list(reasons)}


if __name__ == "__main__":
    main()
