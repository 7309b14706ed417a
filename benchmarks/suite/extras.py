"""What `bench` measures besides rows: starts, memory, a sustained run, MLPerf's scenarios.

And the device profile from all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.result.bench_result import Scenario, Sustained
from tofa_edge.benchmarks.result.row import Row
from tofa_edge.benchmarks.suite.fields import subnet_of
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
from tofa_edge.storage.files import one_line

COLD_STARTS, QUICK_COLD_STARTS = 5, 1
SCENARIO_S, QUICK_SCENARIO_S = 20.0, 2.0


def starts_and_memory(run: Benchmark, rows: Sequence[Row]) -> None:
    """Adds to rows what processes of their own take for them, in the order given."""
    path, schedule, found = run.measurer.bundle.path, run.schedule, run.found.rows
    for row in rows:
        engine, subnet = run.engine_of(row), subnet_of(row)
        if not schedule.has_time(f"start and memory of {engine}, {row.size} subnet"):
            continue
        try:
            artefact = run.measurer.artefacts[row.key]
            peak = peak_memory(artefact, engine, subnet.resolution)
            repeats = QUICK_COLD_STARTS if run.quick else COLD_STARTS
            start = cold_start(path, engine, subnet.to_json(), repeats)
        except BackendError as error:
            found[found.index(row)] = replace(row, cold_start_failed=one_line(error))
            schedule.done(f"{engine}: {error}")
            continue
        found[found.index(row)] = replace(row, peak_memory_bytes=peak, cold_start=start)
        said = f"cold start {start.process_s:.2f} s, peak memory {peak / 1e6:.0f} MB"
        schedule.done(f"{engine}: {said}")


def run_sustained(run: Benchmark, row: Row, seconds: float) -> None:
    """Runs one network for minutes, and sets `sustained`."""
    subnet, engine, measurer = subnet_of(row), run.engine_of(row), run.measurer
    image = specimen_images(subnet.resolution)[0]
    session = engine.backend.load(measurer.artefacts[row.key], engine.target)
    with unexplained(measurer.bundle, session, subnet, engine) as model:
        trace = sustained(lambda: model(image), seconds, engine.target.threads)
    run.found.sustained = Sustained(
        row.configuration, subnet.to_json(), trace.seconds, trace.points, trace.reasons
    )
    if trace.interrupted:
        raise KeyboardInterrupt


def scenarios(run: Benchmark, row: Row) -> None:
    """Runs MLPerf's scenarios with one network, and adds them."""
    run.schedule.part(len(SCENARIOS), 1.0)
    subnet, engine, artefact = subnet_of(row), run.engine_of(row), run.measurer.artefacts[row.key]
    for name in SCENARIOS:
        if not run.schedule.has_time(f"MLPerf's {name}"):
            continue
        seconds = QUICK_SCENARIO_S if run.quick else SCENARIO_S
        found = scenario(name, artefact, engine, subnet.resolution, seconds)
        run.found.scenarios.append(
            Scenario(
                name,
                row.configuration,
                subnet.to_json(),
                found.failed,
                found.reasons,
                found.queries,
                found.p90_ms,
                found.images_per_s,
                seconds,
            )
        )
        verdict = found.failed or "; ".join(found.reasons) or "VALID"
        run.schedule.done(f"MLPerf's {name}: {verdict}")


def profile_of(run: Benchmark, began: State) -> Profile | None:
    """Returns the device profile of what is found; None where nothing was measured."""
    measured: dict[Engine, dict[str, Measurement]] = {}

    def add(engine: Engine, each: Measurement) -> None:
        measured.setdefault(engine, {})[each.subnet or ""] = each

    engines = {str(engine): engine for engine in run.engines}
    for candidate in run.measurer.device.trace.measured:
        add(
            engines[candidate.engine],
            measurement(candidate.subnet, candidate.latency, candidate.macs / 1e6),
        )
    for row in (*run.found.rows, *run.found.front):
        if row.latency is not None and row.mmacs is not None:
            flags = tuple(dict.fromkeys((*row.latency.flags, *map(kind, row.reasons))))
            add(run.engine_of(row), measurement(subnet_of(row), row.latency, row.mmacs, flags))
    rows = {engine: tuple(each.values()) for engine, each in measured.items()}
    return assembled(run.measurer.bundle.space.name, rows, began) if rows else None
