"""Is a deployed network within its budget, how close to it, and how long did choosing take?

`python -m tofa_edge.benchmarks.studies.budgets parts.tofa --budgets 20 --out budgets.json` deploys
for budgets between what the smallest and the largest subnet take, each time from nothing, and
measures each winner again afterwards, by itself, in a process of its own.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

import tofa_edge
from tofa_edge.benchmarks.studies.command import Row, answer, options, store
from tofa_edge.errors import BudgetError
from tofa_edge.measurement.stopwatch import Stopwatch

AGAIN = """
import json, sys, numpy as np, tofa_edge
from tofa_edge.measurement.stopwatch import Stopwatch
bundle, subnet, backend, threads, precision = sys.argv[1:]
chosen, careless = tofa_edge.Subnet.from_json(subnet), tofa_edge.Budget(max_accuracy_drop=None)
options = tofa_edge.DeployOptions(backend=backend, threads=int(threads), precision=precision)
with tofa_edge.deploy(
    bundle, subnet=chosen, budget=careless, remember=False, options=options
) as model:
    image = np.random.default_rng(1).integers(0, 256, (model.input_size,) * 2 + (3,), np.uint8)
    latency = Stopwatch(least_runs=200, most_runs=400, seconds=2).time(lambda: model(image))
print(json.dumps([latency.p50_ms, latency.p95_ms]))
"""


def main() -> None:
    given = options(
        __doc__, "bundle",
        budgets=20, percentile={"type": int, "default": 95, "choices": (50, 95)},
        backend=str, threads=int, precision=str, out=Path,
    )  # fmt: skip
    bundle = tofa_edge.Bundle.open(given.bundle)
    wanted = tofa_edge.DeployOptions(given.backend, given.threads, given.precision)
    low, high = (
        _latency(bundle, subnet, given.percentile, wanted)
        for subnet in (bundle.space.smallest(), bundle.space.largest())
    )
    rows = []
    for budget in np.geomspace(1.3 * low, 1.1 * high, given.budgets):
        rows.append(_row(bundle, float(budget), given.percentile, wanted))
        print(json.dumps(rows[-1]), flush=True)
    summary = _summary(rows)
    print(json.dumps(summary))
    if given.out:
        store(given.out, {"summary": summary, "budgets": rows})


def _latency(
    bundle: tofa_edge.Bundle,
    subnet: tofa_edge.Subnet,
    percentile: int,
    wanted: tofa_edge.DeployOptions,
) -> float:
    with tofa_edge.deploy(bundle, subnet=subnet, remember=False, options=wanted) as model:
        image = np.zeros((model.input_size, model.input_size, 3), np.uint8)
        return Stopwatch().time(lambda: model(image)).percentile_ms(percentile)


def _row(
    bundle: tofa_edge.Bundle, budget_ms: float, percentile: int, wanted: tofa_edge.DeployOptions
) -> Row:
    begun = time.perf_counter()
    budget = tofa_edge.Budget(latency_ms=budget_ms, percentile=percentile)
    try:
        model = tofa_edge.deploy(bundle, budget=budget, remember=False, options=wanted)
    except BudgetError as error:
        return {"budget_ms": round(budget_ms, 3), "refused": str(error)}
    with model:
        seconds, explanation = time.perf_counter() - begun, model.explanation
        chosen, target = explanation.chosen, model.engine.target
        assert chosen is not None
        words = (str(bundle.path), model.subnet.to_json(), model.engine.backend.name)
    p50, p95 = answer("-c", AGAIN, *words, str(target.threads), target.precision)
    limited = p50 if percentile == 50 else p95
    return {
        "budget_ms": round(budget_ms, 3),
        "engine": explanation.engine,
        "mmacs": round(chosen.macs / 1e6, 1),
        "accuracy": round(chosen.accuracy, 4),
        "predicted_ms": chosen.predicted_ms and round(chosen.predicted_ms, 3),
        "measured_ms": round(chosen.latency.percentile_ms(percentile), 3),
        "again_ms": round(limited, 3),
        "over_budget": round(limited / budget_ms, 3),
        "measurements": 1 + len(explanation.measured) + len(explanation.finished),
        "seconds": round(seconds, 2),
        "parts": dict(explanation.seconds),
        "tried": [
            [
                trial.predicted_ms and round(trial.predicted_ms, 3),
                round(trial.latency.percentile_ms(percentile), 3),
            ]
            for trial in explanation.finished
        ],
    }


def _summary(rows: list[Row]) -> Row:
    kept = [row for row in rows if "refused" not in row]
    ratios = np.array([row["over_budget"] for row in kept])
    errors = [abs(p / m - 1) for row in kept for p, m in row["tried"] if p]
    return {
        "budgets": len(rows),
        "refused": len(rows) - len(kept),
        "above_1.05": int((ratios > 1.05).sum()),
        "median_share_of_budget": round(float(np.median(ratios)), 3),
        "mean_prediction_error": round(float(np.mean(errors)), 4) if errors else None,
        "most_measurements": max(row["measurements"] for row in kept),
        "median_seconds": round(float(np.median([row["seconds"] for row in kept])), 2),
        "most_seconds": max(row["seconds"] for row in kept),
    }


if __name__ == "__main__":
    main()
