"""Which engine runs a subnet fastest, and whether deploy chooses it: all of them side by side.

`python -m tofa_edge.benchmarks.studies.engines parts.tofa --subnets 20` deploys each subnet, which
chooses an engine and a number of threads by measuring, then times all of them in turn.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import tofa_edge
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import decoded, distinct, sample
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.screen import side_by_side
from tofa_edge.measurement.stopwatch import one_at_a_time
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

ROUNDS = 16
CLOSE = 1.03


def main() -> None:
    """Writes a row for each subnet, and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--subnets", type=int, default=20)
    parser.add_argument("--threads", type=int, help="the one number to compare; default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of 15 runs on each engine")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engines.json"))
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    space, cutter, engines = (
        bundle.space,
        Cutter(bundle),
        [e for e in passing_engines(bundle, threads=options.threads) if not e.target.is_integer],
    )
    drawn = distinct(space, sample(space, np.random.default_rng(3), options.subnets))
    rows = []
    for subnet in decoded(space, drawn):
        with tofa_edge.deploy(
            bundle, subnet=subnet, threads=options.threads, remember=False
        ) as model:
            chosen = str(model.engine)
        with one_at_a_time():
            times = times_of(cutter, subnet, engines, options.rounds)
        best = min(times, key=lambda name: times[name])
        rows.append(
            {
                "subnet": subnet.to_json(),
                "mmacs": round(macs(layers(space, subnet)) / 1e6, 1),
                "p50_ms": {name: round(value, 4) for name, value in times.items()},
                "fastest": best,
                "chosen": chosen,
                "chosen_over_fastest": round(times[chosen] / times[best], 4),
            }
        )
        print(f"{rows[-1]['mmacs']} MMACs: chosen {chosen}, fastest {best}, "
              f"{rows[-1]['chosen_over_fastest']:.3f}", flush=True)  # fmt: skip
    found = {"made": made(), **summary(rows)}
    options.out.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def times_of(
    cutter: Cutter, subnet: Subnet, engines: list[Engine], rounds: int
) -> dict[str, float]:
    """Returns the median latency of a subnet on each engine, ms, all timed in turn."""
    network = cutter.stored_network(subnet)
    image = specimen_images(network.input_size)[:1]
    sessions = {engine: engine.load(network) for engine in engines}
    runs = {engine: lambda s=session: s.run(image) for engine, session in sessions.items()}
    try:
        found = side_by_side(runs, rounds, drop=float("inf"))
    finally:
        for session in sessions.values():
            session.close()
    return {str(engine): milliseconds for engine, milliseconds in found}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how often the choice was close to the fastest, and how each engine fares."""
    over = np.array([row["chosen_over_fastest"] for row in rows])
    times = np.array([[row["p50_ms"][name] for name in rows[0]["p50_ms"]] for row in rows])
    slower = times / times.min(axis=1, keepdims=True)
    return {
        "subnets": len(rows),
        "within_3_percent": int((over <= CLOSE).sum()),
        "worst": float(over.max()),
        "engines": {
            name: {"median_slower": round(float(np.median(each)), 3),
                   "fastest_of": int((each == 1).sum())}
            for name, each in zip(rows[0]["p50_ms"], slower.T, strict=True)
        },
    }  # fmt: skip


if __name__ == "__main__":
    main()
