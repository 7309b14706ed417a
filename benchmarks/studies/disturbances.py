"""Planted disturbances: is each of them called by its name?

`python -m tofa_edge.benchmarks.studies.disturbances --out disturbances.json` times one network for
a second while cores are busy, a quota stops it, a process fights for memory, or a recorded machine
throttles, ten times each, and ten times with nothing planted. Each trial is a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tofa_edge.backends.support import usable_cores
from tofa_edge.benchmarks.studies.command import Row, options, store, study_answer
from tofa_edge.benchmarks.studies.planted_faults import (
    THROTTLING,
    busy_cores,
    join,
    memory_hog,
    plant,
    quota_group,
    recorded_machine,
)
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.measurement.stopwatch import Stopwatch
from tofa_edge.measurement.validity import invalid_reasons, kind, snapshot
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines
from tofa_edge.selftest.small_bundle import small_bundle

LEAST_RUNS, MOST_RUNS = 100, 20_000
EXPECTED = {
    "nothing": None,
    "busy cores": "background load",
    "CPU quota": "CPU quota",
    "memory hog": "memory pressure",
    "recorded throttling": "throttled",
}


def main() -> None:
    one = {"nargs": 3, "metavar": ("BUNDLE", "GROUP", "VARIANT")}
    given = options(__doc__, out=Path("disturbances.json"), trials=10, one=one)
    if given.one:
        print(json.dumps(_measured(*given.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "small.tofa"
        small_bundle(bundle)
        passing_engines(Bundle.open(bundle))  # so that trials know the engines already
        rows = [trials(name, bundle, given.trials) for name in EXPECTED]
    store(given.out, {"cores": usable_cores(), "rows": rows})
    for row in rows:
        reasons = ", ".join(f"{name} {count}" for name, count in row["reasons"].items()) or "valid"
        print(f"{row['planted']} ({row['how']}): {row['found']} of {row['of']}; {reasons}")


def trials(name: str, bundle: Path, count: int) -> Row:
    """Returns how often a disturbance was called by its name.

    Returns:
        "planted", "how", "expected", "found", "of", and how often each reason was given.
    """
    reasons: Counter[str] = Counter()
    ways, right, expected = set(), 0, EXPECTED[name]
    for number in range(count):
        with _planted(name, number) as (how, group, variant):
            ways.add(how)
            kinds = set(map(kind, study_answer("disturbances", "--one", bundle, group, variant)))
        reasons.update(kinds)
        right += not kinds if expected is None else expected in kinds
    return {
        "planted": name,
        "how": "; ".join(sorted(ways)),
        "expected": expected or "valid",
        "found": right,
        "of": count,
        "reasons": dict(reasons.most_common()),
    }


@contextlib.contextmanager
def _planted(name: str, number: int) -> Iterator[tuple[str, str, str]]:
    """Yields how a disturbance was planted, a group to join, and what befalls a recorded machine.

    A recorded one stands in where this machine makes no control groups.
    """
    if name == "busy cores":
        with busy_cores(usable_cores()):
            yield f"{usable_cores()} processes that spin", "", ""
    elif name == "CPU quota":
        with quota_group() as group:
            real = ("a control group of 0.3 cores", str(group), "")
            yield real if group else ("recorded", "", "quota")
    elif name == "memory hog":
        with memory_hog() as is_real:
            real = ("a process that reads 256 MB in a control group of 64 MB", "", "")
            yield real if is_real else ("recorded", "", "stalls")
    elif name == "recorded throttling":
        way = THROTTLING[number % len(THROTTLING)]
        yield f"recorded, {len(THROTTLING)} ways in turn", "", way
    else:
        yield "this machine as it is", "", ""


def _measured(path: str, group: str, variant: str) -> list[str]:
    bundle = Bundle.open(Path(path))
    subnet, engine = bundle.space.smallest(), passing_engines(bundle)[0]
    session = engine.load(Cutter(bundle).stored_network(subnet))
    image = specimen_images(subnet.resolution)[:1]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) if variant else Path("/")
        if variant:
            recorded_machine(root)
        if group:
            join(Path(group))
        return list(noticed(lambda: session.run(image), root, variant, engine.target.threads))


def noticed(run: Any, root: Path, variant: str, threads: int, seconds: float = 1.0) -> Any:
    """Returns the reasons given for a call, timed for a second, the variant planted meanwhile."""
    stopwatch = Stopwatch(None, least_runs=LEAST_RUNS, most_runs=MOST_RUNS, seconds=seconds)
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if variant and calls == LEAST_RUNS // 2:
            plant(variant, root)
        run()

    before = snapshot(root)
    recording = stopwatch.record(call)
    return invalid_reasons(before, snapshot(root), recording, threads)


if __name__ == "__main__":
    main()
