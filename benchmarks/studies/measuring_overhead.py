"""What measuring costs: a network timed as `bench` times it, and in a bare loop.

`python -m tofa_edge.benchmarks.studies.measuring_overhead BUNDLE --out measuring_overhead.json`
times one network in turn: as `bench` does, with its clocks, its snapshots of the machine and its
fixed reference between the runs, and in a loop that does nothing else, of which only begin and end
are clocked. The figure is the median over turns of one over the other; both are medians over blocks
of runs.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import numpy as np

from tofa_edge.backends.support import usable_cores
from tofa_edge.benchmarks.studies.command import Row, options, store
from tofa_edge.benchmarks.suite.row import LONG_BLOCK, Effort, Measurer, measurer_of
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.measurement.stopwatch import Run
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines

RUNS = 240
EFFORT = Effort(runs=RUNS, seconds=0.0, most_seconds=60.0, most_runs=RUNS)


def main() -> None:
    given = options(__doc__, "bundle", out=Path("measuring_overhead.json"), turns=40)
    rows = [_overhead(given.bundle, name, given.turns) for name in ("middle", "largest")]
    store(given.out, {"cores": usable_cores(), "rows": rows})
    print(json.dumps(rows))


def _overhead(path: Path, name: str, turns: int) -> Row:
    """Returns by how much the median is larger as `bench` measures it than in a bare loop."""
    bundle = Bundle.open(path)
    engine = next(e for e in passing_engines(bundle) if e.target.threads == 1)
    subnet = getattr(bundle.space, name)()
    measurer = measurer_of(bundle, [engine], alone=True)
    session = engine.load(measurer.device.stored(subnet, engine))
    run = partial(session.run, specimen_images(subnet.resolution)[:1])
    ratios, bare_ms = [], []
    for turn in range(turns):
        ways = {"bench": lambda: _as_bench(measurer, run), "bare": lambda: _bare(run)}
        order = list(ways) if turn % 2 == 0 else list(reversed(ways))
        medians = {way: ways[way]() for way in order}
        ratios.append(medians["bench"] / medians["bare"])
        bare_ms.append(1e3 * medians["bare"])
    session.close()
    return {
        "subnet": name,
        "engine": str(engine),
        "bare_p50_ms": round(float(np.median(bare_ms)), 4),
        "overhead": round(float(np.median(ratios)) - 1, 5),
        "quartiles": [round(float(value) - 1, 5) for value in np.percentile(ratios, (25, 75))],
        "turns": turns,
    }


def _as_bench(measurer: Measurer, run: Run) -> float:
    """Returns the median over blocks of a call's mean, in seconds, as `bench` records them."""
    seconds = np.array(measurer.recorded(run, 1, EFFORT)[0].seconds)
    return float(np.median([np.mean(part) for part in np.split(seconds, RUNS // LONG_BLOCK)]))


def _bare(run: Run) -> float:
    """Returns the median over blocks of a call's share of the block, in seconds."""
    for _ in range(LONG_BLOCK):
        run()
    blocks = []
    for _ in range(RUNS // LONG_BLOCK):
        begun = time.perf_counter()
        for _ in range(LONG_BLOCK):
            run()
        blocks.append((time.perf_counter() - begun) / LONG_BLOCK)
    return float(np.median(blocks))


if __name__ == "__main__":
    main()
