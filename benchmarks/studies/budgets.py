"""Is a deployed network within its budget, how close to it, and how long did choosing take?

`python -m tofa_edge.benchmarks.studies.budgets parts.tofa --budgets 20 --out budgets.json` deploys
for budgets between what the smallest and the largest subnet take, each time from nothing, and
measures each winner again afterwards, by itself, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tofa_edge
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.errors import BudgetError
from tofa_edge.measurement.stopwatch import Stopwatch

AGAIN = """
import json, sys, numpy as np, tofa_edge
from tofa_edge.measurement.stopwatch import Stopwatch
bundle, subnet, backend, threads, precision = sys.argv[1:]
chosen, careless = tofa_edge.Subnet.from_json(subnet), tofa_edge.Budget(max_accuracy_drop=None)
asked = {"backend": backend, "threads": int(threads), "precision": precision}
with tofa_edge.deploy(bundle, subnet=chosen, budget=careless, remember=False, **asked) as model:
    image = np.random.default_rng(1).integers(0, 256, (model.input_size,) * 2 + (3,), np.uint8)
    latency = Stopwatch(least_runs=200, most_runs=400, seconds=2).time(lambda: model(image))
print(json.dumps([latency.p50_ms, latency.p95_ms]))
"""


def main() -> None:
    """Deploys for each budget and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--percentile", type=int, default=95, choices=(50, 95))
    parser.add_argument("--backend")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bundle = tofa_edge.Bundle.open(options.bundle)
    ends = [
        _latency(bundle, subnet, options)
        for subnet in (bundle.space.smallest(), bundle.space.largest())
    ]
    rows = []
    for budget in np.geomspace(1.3 * ends[0], 1.1 * ends[1], options.budgets):
        rows.append(_row(bundle, float(budget), options))
        print(json.dumps(rows[-1]), flush=True)
    summary = _summary(rows)
    print(json.dumps(summary))
    if options.out:
        found = {"made": made(), "summary": summary, "budgets": rows}
        options.out.write_text(json.dumps(found, indent=1))


def _latency(bundle: tofa_edge.Bundle, subnet: tofa_edge.Subnet, options: Any) -> float:
    with tofa_edge.deploy(
        bundle,
        subnet=subnet,
        backend=options.backend,
        threads=options.threads,
        precision=options.precision,
        remember=False,
    ) as model:
        image = np.zeros((model.input_size, model.input_size, 3), np.uint8)
        return Stopwatch().time(lambda: model(image)).percentile_ms(options.percentile)


def _row(bundle: tofa_edge.Bundle, budget: float, options: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    wanted = tofa_edge.Budget(latency_ms=budget, percentile=options.percentile)
    try:
        model = tofa_edge.deploy(
            bundle,
            budget=wanted,
            backend=options.backend,
            threads=options.threads,
            precision=options.precision,
            remember=False,
        )
    except BudgetError as error:
        return {"budget_ms": round(budget, 3), "refused": str(error)}
    with model:
        seconds, found = time.perf_counter() - begun, model.explanation
        assert found.chosen is not None
        target, engine = model.engine.target, model.engine.backend.name
        command = [sys.executable, "-c", AGAIN, str(bundle.path), model.subnet.to_json(), engine]
    again = subprocess.run(
        [*command, str(target.threads), target.precision],
        capture_output=True,
        text=True,
        check=True,
    )
    p50, p95 = json.loads(again.stdout.splitlines()[-1])
    limited = p50 if options.percentile == 50 else p95
    return {
        "budget_ms": round(budget, 3),
        "engine": found.engine,
        "mmacs": round(found.chosen.macs / 1e6, 1),
        "accuracy": round(found.chosen.accuracy, 4),
        "predicted_ms": found.chosen.predicted_ms and round(found.chosen.predicted_ms, 3),
        "measured_ms": round(found.chosen.latency.percentile_ms(options.percentile), 3),
        "again_ms": round(limited, 3),
        "over_budget": round(limited / budget, 3),
        "measurements": 1 + len(found.measured) + len(found.finished),
        "seconds": round(seconds, 2),
        "parts": dict(found.seconds),
        "tried": [
            [
                t.predicted_ms and round(t.predicted_ms, 3),
                round(t.latency.percentile_ms(options.percentile), 3),
            ]
            for t in found.finished
        ],
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    made = [row for row in rows if "refused" not in row]
    ratios = np.array([row["over_budget"] for row in made])
    misses = [abs(p / m - 1) for row in made for p, m in row["tried"] if p]
    return {
        "budgets": len(rows),
        "refused": len(rows) - len(made),
        "above_1.05": int((ratios > 1.05).sum()),
        "median_share_of_budget": round(float(np.median(ratios)), 3),
        "mean_prediction_error": round(float(np.mean(misses)), 4) if misses else None,
        "most_measurements": max(row["measurements"] for row in made),
        "median_seconds": round(float(np.median([row["seconds"] for row in made])), 2),
        "most_seconds": max(row["seconds"] for row in made),
    }


if __name__ == "__main__":
    main()
