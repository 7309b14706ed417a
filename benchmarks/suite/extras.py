"""What `bench` measures besides rows: starts, memory, a sustained run, MLPerf's scenarios.

And the device profile from all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fields import latency_of, row_key, subnet_of
from tofa_edge.benchmarks.suite.fresh_process import cold_start, peak_memory
from tofa_edge.benchmarks.suite.loadgen import SCENARIOS, scenario
from tofa_edge.benchmarks.suite.schedule import Benchmark
from tofa_edge.benchmarks.suite.sustained import sustained
from tofa_edge.deployment.measure import unexplained
from tofa_edge.deployment.profile import assembled, measurement
from tofa_edge.device.machine import State
from tofa_edge.device_profiles.profile import Measurement, Profile
from tofa_edge.errors import BackendError
from tofa_edge.measurement.validity import kind
from tofa_edge.selftest.golden import specimen_images

COLD_STARTS, QUICK_COLD_STARTS = 5, 1
SCENARIO_S, QUICK_SCENARIO_S = 20.0, 2.0

Row = dict[str, Any]


def starts_and_memory(run: Benchmark, rows: Sequence[Row]) -> None:
    """Adds to rows what processes of their own take for them, in their order."""
    path, schedule = run.measurer.bundle.path, run.schedule
    for row in rows:
        engine, subnet = run.engine_of(row), subnet_of(row)
        if not schedule.has_time(f"start and memory of {engine}, {row['size']} subnet"):
            continue
        try:
            artefact = run.measurer.artefacts[row_key(row)]
            row["peak_memory_bytes"] = peak_memory(artefact, engine, subnet.resolution)
            repeats = QUICK_COLD_STARTS if run.quick else COLD_STARTS
            row["cold_start"] = cold_start(path, engine, subnet.to_json(), repeats)
        except BackendError as error:
            row["cold_start_failed"] = str(error)
            schedule.done(f"{engine}: {error}")
            continue
        seconds, megabytes = row["cold_start"]["process_s"], row["peak_memory_bytes"] / 1e6
        schedule.done(f"{engine}: cold start {seconds:.2f} s, peak memory {megabytes:.0f} MB")


def run_sustained(run: Benchmark, row: Row, seconds: float) -> None:
    """Runs one network for minutes, and sets "sustained" of the result."""
    subnet, engine, measurer = subnet_of(row), run.engine_of(row), run.measurer
    image = specimen_images(subnet.resolution)[0]
    session = engine.backend.load(measurer.artefacts[row_key(row)], engine.target)
    with unexplained(measurer.bundle, session, subnet, engine) as model:
        trace = sustained(lambda: model(image), seconds, engine.target.threads)
    interrupted = trace.pop("interrupted")
    run.result["sustained"] = _configuration(row) | trace
    if interrupted:
        raise KeyboardInterrupt


def scenarios(run: Benchmark, row: Row) -> None:
    """Runs MLPerf's scenarios with one network, and adds them to the result."""
    run.schedule.part(len(SCENARIOS), 1.0)
    for name in SCENARIOS:
        if not run.schedule.has_time(f"MLPerf's {name}"):
            continue
        seconds = QUICK_SCENARIO_S if run.quick else SCENARIO_S
        artefact, engine = run.measurer.artefacts[row_key(row)], run.engine_of(row)
        outcome = scenario(name, artefact, engine, row["resolution"], seconds)
        run.result["scenarios"].append({"scenario": name, **_configuration(row), **outcome})
        reasons = "VALID" if outcome["valid"] else "; ".join(outcome["reasons"])
        run.schedule.done(f"MLPerf's {name}: {outcome['failed'] or reasons}")


def profile_of(run: Benchmark, began: State) -> Profile | None:
    """Returns the device profile of a result; None where nothing was measured."""
    measured: dict[Engine, dict[str, Measurement]] = {}

    def add(engine: Engine, each: Measurement) -> None:
        measured.setdefault(engine, {})[each.subnet or ""] = each

    engines = {str(engine): engine for engine in run.engines}
    for candidate in run.measurer.device.trace.measured:
        add(
            engines[candidate.engine],
            measurement(candidate.subnet, candidate.latency, candidate.macs / 1e6),
        )
    for row in (*run.result["rows"], *run.result["front"]):
        if row["latency"] is not None:
            latency = latency_of(row)
            flags = tuple(dict.fromkeys((*latency.flags, *map(kind, row["reasons"]))))
            add(run.engine_of(row), measurement(subnet_of(row), latency, row["mmacs"], flags))
    rows = {engine: tuple(each.values()) for engine, each in measured.items()}
    return assembled(run.measurer.bundle.space.name, rows, began) if rows else None


def _configuration(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("engine", "device", "precision", "threads", "subnet")}
