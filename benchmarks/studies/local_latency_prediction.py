"""How well latencies of unseen subnets are predicted on this machine, from ten measured ones.

`python -m tofa_edge.benchmarks.studies.local_latency_prediction lite0.tofa --work study` measures 240 subnets
with one thread and with two, all twice in another order, and keeps them in `study`. Then for each
thread count: ten subnets are chosen by design, the prior comes from the other thread count alone,
and the rest is predicted. Beside it stand MACs scaled by one number, and a line of the MACs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, decoded, distinct, encoded, sample
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.finish import Finisher
from tofa_edge.deployment.forecast import Forecast
from tofa_edge.deployment.screen import reference_run
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.selftest.records import passing_engines

SUBNETS = 240
MEASURED = 10
SEEDS = 20
PASSES = 2


def main() -> None:
    """Measures what is missing, then predicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--out", type=Path, default=Path("local_latency_prediction.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bundle = Bundle.open(options.bundle)
    rng = np.random.default_rng(0)
    encodings = distinct(bundle.space, sample(bundle.space, rng, SUBNETS))
    able = [e for e in passing_engines(name=options.backend) if not e.target.is_integer]
    path = options.work / "own_latency_measured.json"
    if not path.exists():
        path.write_text(json.dumps(_measured(bundle, encodings, able)))
    stored = json.loads(path.read_text())
    found = {str(engine): np.array(stored[str(engine)]) for engine in able}  # (passes, N, 2)
    rows = {}
    for engine in able:
        others = [e for e in able if e is not engine]
        rows[str(engine)] = _predicted(
            bundle.space, encodings, found[str(engine)], [found[str(e)] for e in others]
        )
        print(engine, json.dumps(rows[str(engine)]), flush=True)
    source = {**made(), "date": stored["date"]}
    options.out.write_text(
        json.dumps({"made": source, "subnets": len(encodings), "targets": rows}, indent=1)
    )


def _measured(bundle: Bundle, encodings: Encodings, able: list[Engine]) -> dict[str, Any]:
    finisher = Finisher(bundle, Budget())
    finisher.cutter = Cutter(bundle)
    finisher.stand_beside(reference_run(finisher, able))
    subnets = decoded(bundle.space, encodings)
    times: dict[str, Any] = {
        str(engine): np.zeros((PASSES, len(subnets), 2)).tolist() for engine in able
    }
    begun = time.perf_counter()
    for number in range(PASSES):
        order = np.random.default_rng(number).permutation(len(subnets))
        for place, index in enumerate(order):
            for engine in able:
                latency = finisher.timed_as_stored(subnets[index], engine)
                times[str(engine)][number][index] = [latency.steady_ms, latency.relative_error]
            if place % 20 == 0:
                print(f"pass {number}, {place}: {time.perf_counter() - begun:.0f} s", flush=True)
    return {**times, "date": time.strftime("%Y-%m-%d")}


def _predicted(
    space: SearchSpace, encodings: Encodings, times: DoubleArray, others: list[DoubleArray]
) -> dict[str, Any]:
    """Returns errors over 20 seeds of the pool that ten subnets are chosen from."""
    truth = np.exp(np.log(times[:, :, 0]).mean(axis=0))
    noise = float(np.abs(np.diff(np.log(times[:, :, 0]), axis=0)).mean() / np.sqrt(2))
    macs = tables(space).costs(encodings).macs.astype(np.float64)
    rows: dict[str, list[DoubleArray]] = {"ours": [], "macs scaled": [], "line of macs": []}
    deviations = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(encodings))
        pool, unseen = order[:40], order[40:]
        prior = [_known(space, encodings, other) for other in others]
        forecast = Forecast(space, encodings[pool], prior)
        chosen: list[int] = []
        for _ in range(MEASURED):
            subnet = forecast.next()
            index = int(np.flatnonzero((encodings == encoded(space, [subnet])[0]).all(axis=1))[0])
            chosen.append(index)
            forecast.add(subnet, _latency(times[0, index]))
        rows["ours"].append(forecast.median_ms(encodings[unseen]) / truth[unseen] - 1)
        deviations.append(forecast.deviation())
        seen = times[0, chosen, 0]
        scale = np.exp(np.mean(np.log(seen / macs[chosen])))
        rows["macs scaled"].append(scale * macs[unseen] / truth[unseen] - 1)
        design = np.stack([np.ones(MEASURED), macs[chosen]], axis=1) / seen[:, None]
        a, b = np.linalg.lstsq(design, np.ones(MEASURED), rcond=None)[0]
        rows["line of macs"].append((a + b * macs[unseen]) / truth[unseen] - 1)
    figures = {name: _figures(np.array(errors)) for name, errors in rows.items()}
    return {
        "repeat_noise": round(noise, 4),
        "expected_error": round(float(np.mean(deviations)), 4),
        "latencies_ms": [round(float(truth.min()), 3), round(float(truth.max()), 3)],
        **figures,
    }


def _known(space: SearchSpace, encodings: Encodings, times: DoubleArray) -> Forecast:
    """What the other thread count is known to take: 60 of the subnets, spread over all."""
    forecast = Forecast(space, encodings)
    for index in range(0, len(encodings), 4):
        forecast.add(space.decode(encodings[index]), _latency(times[0, index]))
    return forecast


def _latency(measured: DoubleArray) -> Latency:
    time, error = map(float, measured)
    return Latency(time, time, time, time, 30, error)


def _figures(errors: DoubleArray) -> dict[str, float]:
    by_seed = np.abs(errors).mean(axis=1)
    return {
        "mean_error": round(float(by_seed.mean()), 4),
        "worst_seed": round(float(by_seed.max()), 4),
        "within_10_percent": round(float((np.abs(errors) <= 0.1).mean()), 4),
    }


if __name__ == "__main__":
    main()
