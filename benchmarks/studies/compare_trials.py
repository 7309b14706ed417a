"""Does `compare` call noise noise, and find a slow-down of 8 %?

`python -m tofa_edge.benchmarks.studies.compare_trials BUNDLE --out compare_trials.json` writes
twenty pairs of results of one machine, and twenty whose second has 8 % of work planted into every
call, and compares each pair as a person would, with `--fail-above 5%`. Each result is measured by a
process of its own, the two kinds in turn. An unfinished run goes on where it was; `--pairs 5` does
five of each and stops.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.backends.protocol import Session
from tofa_edge.benchmarks.result.bench_result import BenchedBundle, BenchResult
from tofa_edge.benchmarks.result.reading import to_json
from tofa_edge.benchmarks.result.row import Row as BenchRow
from tofa_edge.benchmarks.studies.command import (
    Row,
    options,
    random_subnets,
    resume_trials,
    study_answer,
)
from tofa_edge.benchmarks.studies.planted_faults import Slowed
from tofa_edge.benchmarks.suite.compare import compare
from tofa_edge.benchmarks.suite.fields import UNMEASURED, configuration, with_latency
from tofa_edge.benchmarks.suite.row import Effort, measurer_of
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.device.machine import fingerprint
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

PAIRS = 20
PLANTED, ALLOWED = 0.08, 0.05
NETWORKS = 12
EFFORT = Effort(runs=100, seconds=0.3, most_seconds=1.0, most_runs=600)


def main() -> None:
    pairs = (PAIRS, "of each kind, to do now at most")
    one = {"type": float, "metavar": "SLOWER", "help": "in this process"}
    out = Path("compare_trials.json")
    given = options(__doc__, "bundle", out=out, pairs=pairs, one=one)
    if given.one is not None:
        print(" ".join(to_json(_result(given.bundle, given.one)).split()))
        return
    trial = partial(_pairs, given.bundle)
    resume_trials(given.out, "pairs", (PAIRS, given.pairs), trial, _summary)


def _summary(rows: list[Row]) -> Row:
    """Returns how many pairs of either kind were called slower than allowed."""

    def ratio(kind: str) -> float:
        return round(float(np.mean([row[kind]["ratio"] for row in rows])), 4)

    return {
        "pairs": len(rows),
        "planted": PLANTED,
        "allowed": ALLOWED,
        "false_alarms": sum(row["identical"]["alarm"] for row in rows),
        "found": sum(row["slower"]["alarm"] for row in rows),
        "mean_ratio_identical": ratio("identical"),
        "mean_ratio_slower": ratio("slower"),
    }


def _result(path: Path, slower: float) -> BenchResult:
    """Returns a result as far as `compare` reads it: some subnets on one engine."""
    bundle, rows = Bundle.open(path), []
    engine = next(e for e in passing_engines(bundle) if e.target.threads == 1)
    with measuring_turn() as turn:
        measurer = measurer_of(bundle, [engine], turn != "busy")
        for subnet in random_subnets(bundle.space, 5, NETWORKS):
            session: Session = engine.load(measurer.device.stored(subnet, engine))
            run = (Slowed(session, slower) if slower else session).run
            image = specimen_images(subnet.resolution)[:1]
            recording, reasons = measurer.recorded(partial(run, image), 1, EFFORT)
            session.close()
            row = BenchRow("engine", configuration(engine), subnet.to_json(), failed=UNMEASURED)
            rows.append(with_latency(row, recording, reasons))
    named = BenchedBundle(path.name, bundle.digest)
    return BenchResult(__version__, "", "", named, fingerprint(), {}, tuple(rows), ())


def _pairs(bundle: Path) -> Row:
    """Measures three results, and compares the first with the one alike and with the slower one."""
    slowdowns = {"first": 0.0, "identical": 0.0, "slower": PLANTED}
    results: dict[str, Any] = {
        name: study_answer("compare_trials", bundle, "--one", slowdown)
        for name, slowdown in slowdowns.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.json" for name in results}
        for name, result in results.items():
            paths[name].write_text(json.dumps(result))
        others = compare(list(paths.values()))
    return {
        name: {
            "ratio": round(comparison.ratio, 4),
            "error": round(comparison.error, 4),
            "verdict": comparison.verdict,
            "alarm": comparison.is_slower_than(ALLOWED),
            "invalid_rows": sum(bool(row.get("reasons")) for row in results[name]["rows"]),
        }
        for name, comparison in zip(("identical", "slower"), others, strict=True)
    }


if __name__ == "__main__":
    main()
