"""Does `compare` call noise noise, and find a slow-down of 8 %?

`python -m tofa_edge.benchmarks.studies.compare_trials BUNDLE --out compare_trials.json` writes
twenty pairs of results of one machine, and twenty whose second has 8 % of work planted into every
call, and compares each pair as a person would, with `--fail-above 5%`. Each result is measured by a
process of its own, the two kinds in turn. An unfinished run goes on where it was; `--pairs 5` does
five of each and stops.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.encodings import decoded, distinct, sample
from tofa_edge.backends.protocol import Session
from tofa_edge.benchmarks.studies.planted_faults import Slowed
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.studies.trials import in_a_process, resumed
from tofa_edge.benchmarks.suite.compare import compare
from tofa_edge.benchmarks.suite.fields import heading, latency_fields
from tofa_edge.benchmarks.suite.row import Effort, measurer_of
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.measurement.stopwatch import one_at_a_time
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

PAIRS = 20
PLANTED, ALLOWED = 0.08, 0.05
NETWORKS = 12
EFFORT = Effort(runs=100, seconds=0.3, most_seconds=1.0, most_runs=600)


def main() -> None:
    """Measures and compares all pairs, or writes one result in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=Path("compare_trials.json"))
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each kind, to do now at most")
    parser.add_argument("--one", type=float, metavar="SLOWER", help="in this process")
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(one_result(options.bundle, options.one)))
        return
    trial = partial(_pairs, options.bundle)
    resumed(options.out, made(), "pairs", PAIRS, options.pairs, trial, summary)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how many pairs of either kind were called slower than allowed."""
    ratios = {kind: [row[kind]["ratio"] for row in rows] for kind in ("identical", "slower")}
    return {
        "pairs": len(rows),
        "planted": PLANTED,
        "allowed": ALLOWED,
        "false_alarms": sum(row["identical"]["alarm"] for row in rows),
        "found": sum(row["slower"]["alarm"] for row in rows),
        "mean_ratio_identical": round(float(np.mean(ratios["identical"])), 4),
        "mean_ratio_slower": round(float(np.mean(ratios["slower"])), 4),
    }


def one_result(path: Path, slower: float = 0.0) -> dict[str, Any]:
    """Returns a result of schema 2, as far as `compare` reads it: some subnets on one engine."""
    bundle = Bundle.open(path)
    engine = next(e for e in passing_engines(bundle) if e.target.threads == 1)
    space, rows = bundle.space, []
    subnets = decoded(space, distinct(space, sample(space, np.random.default_rng(5), NETWORKS)))
    with one_at_a_time() as alone:
        measurer = measurer_of(bundle, [engine], alone)
        for subnet in subnets:
            session: Session = engine.load(measurer.finisher.stored(subnet, engine))
            watched = Slowed(session, slower) if slower else session
            image = specimen_images(subnet.resolution)[:1]
            recording, reasons = measurer.recorded(
                lambda watched=watched, image=image: watched.run(image),  # type: ignore[misc]
                1,
                EFFORT,
            )
            session.close()
            said = {"latency": latency_fields(recording), "valid": not reasons}
            rows.append(heading("engine", subnet, engine) | said | {"reasons": list(reasons)})
    return {"schema": 2, "rows": rows, "front": []}


def _pairs(bundle: Path) -> dict[str, Any]:
    """Measures three results, and compares the first with the one alike and with the slower one."""
    results = {
        "first": _in_a_process(bundle, 0.0),
        "identical": _in_a_process(bundle, 0.0),
        "slower": _in_a_process(bundle, PLANTED),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.json" for name in results}
        for name, result in results.items():
            paths[name].write_text(json.dumps(result))
        others = compare(list(paths.values()))
    return {
        name: {
            "ratio": round(found.ratio, 4),
            "error": round(found.error, 4),
            "verdict": found.verdict,
            "alarm": found.is_slower_than(ALLOWED),
            "invalid_rows": sum(not row["valid"] for row in results[name]["rows"]),
        }
        for name, found in zip(("identical", "slower"), others, strict=True)
    }


def _in_a_process(bundle: Path, slower: float) -> dict[str, Any]:
    return dict(in_a_process("compare_trials", [str(bundle), "--one", str(slower)]))


if __name__ == "__main__":
    main()
