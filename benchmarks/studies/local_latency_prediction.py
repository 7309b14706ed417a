"""How well latencies of unseen subnets are predicted on this machine, from ten measured ones.

    python -m tofa_edge.benchmarks.studies.local_latency_prediction lite0.tofa --work study

measures 240 subnets with one thread and with two, all twice in another order, and keeps them in
`study`. Then for each thread count: ten subnets are chosen by design, the prior comes from the
other thread count alone, and the rest is predicted. Beside it stand MACs scaled by one number, and
a line of the MACs.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, decoded, encoded
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import Row, options, provenance, random_encodings, store
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.local_device import local_device
from tofa_edge.deployment.trace import Trace
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.search.forecast import Forecast
from tofa_edge.selftest.calibrating import calibrating_among, calibrating_engine
from tofa_edge.selftest.records import passing_engines

SUBNETS = 240
MEASURED = 10
SEEDS = 20
PASSES = 2


def main() -> None:
    work, out = Path("study"), Path("local_latency_prediction.json")
    given = options(__doc__, "bundle", backend="onnxruntime", work=work, out=out)
    given.work.mkdir(parents=True, exist_ok=True)
    bundle = Bundle.open(given.bundle)
    space, encodings = bundle.space, random_encodings(bundle.space, 0, SUBNETS)
    engines = [e for e in passing_engines(name=given.backend) if not e.target.is_integer]
    path = given.work / "local_latencies.json"
    if not path.exists():
        path.write_text(json.dumps(_measured(bundle, encodings, engines)))
    kept = json.loads(path.read_text())
    times = {str(engine): np.array(kept[str(engine)]) for engine in engines}  # (passes, N, 2)
    rows = {}
    for name in times:
        others = [other for key, other in times.items() if key != name]
        rows[name] = _predicted(space, encodings, times[name], others)
        print(name, json.dumps(rows[name]), flush=True)
    source = {**provenance(), "date": kept["date"]}
    store(given.out, {"made": source, "subnets": len(encodings), "targets": rows})


def _measured(bundle: Bundle, encodings: Encodings, engines: list[Engine]) -> dict[str, Any]:
    calibrating = calibrating_among(engines) or calibrating_engine(bundle)
    device = local_device(Cutter(bundle), engines, calibrating, Trace())
    subnets = decoded(bundle.space, encodings)
    times = {str(engine): np.zeros((PASSES, len(subnets), 2)) for engine in engines}
    begun = time.perf_counter()
    for number in range(PASSES):
        order = np.random.default_rng(number).permutation(len(subnets))
        for place, index in enumerate(order):
            for engine in engines:
                latency = device.time_stored(subnets[index], engine)
                times[str(engine)][number, index] = latency.steady_ms, latency.relative_error
            if place % 20 == 0:
                print(f"pass {number}, {place}: {time.perf_counter() - begun:.0f} s", flush=True)
    rows = {name: array.tolist() for name, array in times.items()}
    return {**rows, "date": time.strftime("%Y-%m-%d")}


def _predicted(
    space: SearchSpace, encodings: Encodings, times: DoubleArray, others: list[DoubleArray]
) -> Row:
    """Returns errors over 20 seeds of the pool that ten subnets are chosen from."""
    truth = np.exp(np.log(times[:, :, 0]).mean(axis=0))
    noise = float(np.abs(np.diff(np.log(times[:, :, 0]), axis=0)).mean() / np.sqrt(2))
    macs = tables(space).costs(encodings).macs.astype(np.float64)
    errors: dict[str, list[DoubleArray]] = {"ours": [], "macs scaled": [], "line of macs": []}
    deviations = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(encodings))
        pool, unseen = order[:40], order[40:]
        prior = [_known(space, encodings, other) for other in others]
        forecast = Forecast(space, encodings[pool], prior)
        chosen: list[int] = []
        for _ in range(MEASURED):
            subnet = forecast.next()
            assert subnet is not None, "the pool has more than are measured"
            index = int(np.flatnonzero((encodings == encoded(space, [subnet])[0]).all(axis=1))[0])
            chosen.append(index)
            forecast.add(subnet, _latency(times[0, index]))
        deviations.append(forecast.deviation())
        measured = times[0, chosen, 0]
        scale = np.exp(np.mean(np.log(measured / macs[chosen])))
        design = np.stack([np.ones(MEASURED), macs[chosen]], axis=1) / measured[:, None]
        a, b = np.linalg.lstsq(design, np.ones(MEASURED), rcond=None)[0]
        predicted = (forecast.median_ms(encodings[unseen]), scale * macs[unseen])
        for name, values in zip(errors, (*predicted, a + b * macs[unseen]), strict=True):
            errors[name].append(values / truth[unseen] - 1)
    return {
        "repeat_noise": round(noise, 4),
        "expected_error": round(float(np.mean(deviations)), 4),
        "latencies_ms": [round(float(truth.min()), 3), round(float(truth.max()), 3)],
        **{name: _figures(np.abs(values)) for name, values in errors.items()},
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
    by_seed = errors.mean(axis=1)
    return {
        "mean_error": round(float(by_seed.mean()), 4),
        "worst_seed": round(float(by_seed.max()), 4),
        "within_10_percent": round(float((errors <= 0.1).mean()), 4),
    }


if __name__ == "__main__":
    main()
