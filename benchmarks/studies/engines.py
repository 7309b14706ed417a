"""Which engine runs a subnet fastest, and whether deploy chooses it: all of them side by side.

`python -m tofa_edge.benchmarks.studies.engines parts.tofa --subnets 20` deploys each subnet, which
chooses an engine and a number of threads by measuring, then times all of them in turn.
"""

from __future__ import annotations

import contextlib
import json
from functools import partial

import numpy as np

import tofa_edge
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import RESULTS, Row, options, random_subnets, store
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.screen import side_by_side
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

CLOSE = 1.03


def main() -> None:
    threads = (int, "the one number to compare; default: all")
    rounds = (16, "of 15 runs on each engine")
    out = RESULTS / "engines.json"
    given = options(__doc__, "bundle", subnets=20, threads=threads, rounds=rounds, out=out)
    bundle = Bundle.open(given.bundle)
    space, cutter = bundle.space, Cutter(bundle)
    offered = passing_engines(bundle, threads=given.threads)
    engines = [engine for engine in offered if not engine.target.is_integer]
    rows = []
    for subnet in random_subnets(space, 3, given.subnets):
        with tofa_edge.deploy(
            bundle,
            subnet=subnet,
            remember=False,
            options=tofa_edge.DeployOptions(threads=given.threads),
        ) as model:
            chosen = str(model.engine)
        with measuring_turn():
            times = _medians_ms(cutter, subnet, engines, given.rounds)
        best = min(times, key=lambda name: times[name])
        row = {
            "subnet": subnet.to_json(),
            "mmacs": round(macs(layers(space, subnet)) / 1e6, 1),
            "p50_ms": {name: round(value, 4) for name, value in times.items()},
            "fastest": best,
            "chosen": chosen,
            "chosen_over_fastest": round(times[chosen] / times[best], 4),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    store(given.out, {**_summary(rows), "rows": rows})
    print(json.dumps(_summary(rows), indent=1))


def _medians_ms(
    cutter: Cutter, subnet: Subnet, engines: list[Engine], rounds: int
) -> dict[str, float]:
    network = cutter.stored_network(subnet)
    image = specimen_images(network.input_size)[:1]
    with contextlib.ExitStack() as stack:
        sessions = {e: stack.enter_context(contextlib.closing(e.load(network))) for e in engines}
        runs = {engine: partial(session.run, image) for engine, session in sessions.items()}
        medians = side_by_side(runs, rounds, drop=float("inf"))
    return {str(engine): milliseconds for engine, milliseconds in medians}


def _summary(rows: list[Row]) -> Row:
    """Returns how often the choice was close to the fastest, and how each engine fares."""
    over = np.array([row["chosen_over_fastest"] for row in rows])
    times = np.array([list(row["p50_ms"].values()) for row in rows])
    slower = times / times.min(axis=1, keepdims=True)
    engines = {
        name: {
            "median_slower": round(float(np.median(each)), 3),
            "fastest_of": int((each == 1).sum()),
        }
        for name, each in zip(rows[0]["p50_ms"], slower.T, strict=True)
    }
    close = {"within_3_percent": int((over <= CLOSE).sum()), "worst": float(over.max())}
    return {"subnets": len(rows), **close, "engines": engines}


if __name__ == "__main__":
    main()
