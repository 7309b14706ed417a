"""What `bench` measures besides rows: starts, memory, minutes on end, MLPerf's scenarios.

And the device profile that all of it makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fields import is_of, latency_of, row_key, subnet_of
from tofa_edge.benchmarks.suite.fresh_process import cold_start, peak_memory
from tofa_edge.benchmarks.suite.loadgen import SCENARIOS, scenario
from tofa_edge.benchmarks.suite.row import Measurer
from tofa_edge.benchmarks.suite.schedule import Schedule
from tofa_edge.benchmarks.suite.sustained import sustained
from tofa_edge.deployment.profile import assembled, measurement
from tofa_edge.device.machine import State
from tofa_edge.device_profiles.profile import Measurement, Profile
from tofa_edge.errors import BackendError
from tofa_edge.measurement.validity import kind
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.storage.plain import to_plain

COLD_STARTS, QUICK_COLD_STARTS = 5, 1
SCENARIO_S, QUICK_SCENARIO_S = 20.0, 2.0

Row = dict[str, Any]


def starts_and_memory(
    rows: Sequence[Row],
    measurer: Measurer,
    offered: Sequence[Engine],
    quick: bool,
    schedule: Schedule,
) -> None:
    """Adds to rows what processes of their own take for them, in their order."""
    path, repeats = measurer.finisher.bundle.path, QUICK_COLD_STARTS if quick else COLD_STARTS
    for row in rows:
        engine, subnet = next(e for e in offered if is_of(row, e)), subnet_of(row)
        if not schedule.has_time(f"start and memory of {engine}, {row['size']} subnet"):
            continue
        try:
            artefact = measurer.artefacts[row_key(row)]
            row["peak_memory_bytes"] = peak_memory(artefact, engine, subnet.resolution)
            row["cold_start"] = cold_start(path, engine, subnet.to_json(), repeats)
        except BackendError as error:
            row["cold_start_failed"] = str(error)
            schedule.done(f"{engine}: {error}")
            continue
        seconds, taken = row["cold_start"]["process_s"], row["peak_memory_bytes"] / 1e6
        schedule.done(f"{engine}: first start {seconds:.2f} s, then at most {taken:.0f} MB")


def lasting(
    found: Row, row: Row, measurer: Measurer, engine: Engine, seconds: float, schedule: Schedule
) -> None:
    """Runs one network for minutes, and sets "sustained" of a result."""
    subnet = subnet_of(row)
    image = specimen_images(subnet.resolution)[0]
    with measurer.finisher.reloaded(measurer.artefacts[row_key(row)], subnet, engine) as model:
        trace = sustained(lambda: model(image), seconds, engine.target.threads)
    ended = trace.pop("interrupted")
    found["sustained"] = _whose(row) | trace
    if ended:
        raise KeyboardInterrupt


def scenarios(
    found: Row, row: Row, measurer: Measurer, engine: Engine, quick: bool, schedule: Schedule
) -> None:
    """Runs MLPerf's scenarios with one network, and adds them to a result."""
    schedule.part(len(SCENARIOS), 1.0)
    for name in SCENARIOS:
        if not schedule.has_time(f"MLPerf's {name}"):
            continue
        seconds = QUICK_SCENARIO_S if quick else SCENARIO_S
        artefact = measurer.artefacts[row_key(row)]
        said = scenario(name, artefact, engine, row["resolution"], seconds)
        found["scenarios"].append({"scenario": name, **_whose(row), **said})
        verdict = said["failed"] or ("VALID" if said["valid"] else "; ".join(said["reasons"]))
        schedule.done(f"MLPerf's {name}: {verdict}")


def profile_of(
    found: Row, measurer: Measurer, offered: Sequence[Engine], began: State
) -> Profile | None:
    """Returns the device profile of a result; None where nothing was measured."""
    measured: dict[Engine, dict[str, Measurement]] = {}
    bench = measurer.finisher
    for quickly, engine in bench.on_the_way:
        made = measurement(quickly.subnet, quickly.latency, quickly.macs / 1e6)
        measured.setdefault(engine, {})[made.subnet or ""] = made
    for row in (*found["rows"], *found["front"]):
        if row["latency"] is None:
            continue
        engine = next(e for e in offered if is_of(row, e))
        latency = latency_of(row)
        flags = tuple(dict.fromkeys((*latency.flags, *map(kind, row["reasons"]))))
        made = measurement(subnet_of(row), latency, row["mmacs"], flags)
        measured.setdefault(engine, {})[made.subnet or ""] = made
    rows = {engine: tuple(each.values()) for engine, each in measured.items()}
    return assembled(bench.bundle.space.name, rows, began) if rows else None


def profile_fields(profile: Profile | None) -> dict[str, Any] | None:
    """Returns a profile as `device_profiles` writes it."""
    if profile is None:
        return None
    return {"schema_version": profile.schema_version} | dict(to_plain(profile))


def _whose(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("engine", "device", "precision", "threads", "subnet")}
