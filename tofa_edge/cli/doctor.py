"""What `doctor` says of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tofa_edge import backends
from tofa_edge.device.machine import Fingerprint, State, fingerprint, state
from tofa_edge.device.problems import Problem, problems
from tofa_edge.device_profiles.matching import OTHER_ARCHITECTURE, nearest
from tofa_edge.device_profiles.profile import shipped
from tofa_edge.selftest.records import SPECIMEN, Record, engine_records, forget_others, records_here
from tofa_edge.storage.plain import to_plain

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EngineHere:
    """Whether an engine can run here, as it turned out when it was tried in its own process.

    Attributes:
        engine: its name.
        targets: on which it computed the right numbers.
        missing: why it is not installed, and what to do.
        version: of its package.
        faults: what went wrong: the target, the kind of fault, the reason.
        tried: when, YYYY-MM-DD.
        remarks: what else the backend says of its packages, such as one that is not used.
    """

    engine: str
    targets: tuple[str, ...]
    missing: str | None
    version: str = ""
    faults: tuple[str, ...] = ()
    tried: str = ""
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        works = f"works: {', '.join(self.targets)}" if self.targets else "not used"
        return self.missing or f"{works} ({self.version}, tried {self.tried})"


@dataclass(frozen=True, slots=True)
class Examination:
    """All that `doctor` finds.

    Attributes:
        fingerprint: what the machine is.
        state: how it is doing.
        engines: every backend, installed or not.
        problems: the worst first.
        nearest_profile: the profile shipped for the device most like this one, and why it is that
            one; None where none is of its architecture.
    """

    fingerprint: Fingerprint
    state: State
    engines: tuple[EngineHere, ...]
    problems: tuple[Problem, ...]
    nearest_profile: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; what is not known is left out."""
        return {
            "fingerprint": to_plain(self.fingerprint),
            "state": to_plain(self.state),
            "engines": [dataclasses.asdict(engine) for engine in self.engines],
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
            "nearest_profile": self.nearest_profile,
        }


def examine(again: bool = False) -> Examination:
    """Returns what this machine is, how it is doing, and what is wrong with it."""
    found, moving = fingerprint(), state()
    records = engine_records(again=again)
    if again:
        forget_others(records.values())
    engines = []
    for name, backend in backends.backends().items():
        missing = backend.missing()
        here = EngineHere(name, (), missing) if missing else _tried(records[name], records_here())
        engines.append(dataclasses.replace(here, remarks=backend.remarks()))
    wrong = tuple(problems(found, moving))
    return Examination(found, moving, tuple(engines), wrong, _nearest_profile(found))


def _tried(record: Record, known: list[Record]) -> EngineHere:
    """What is known of an engine: tried on a specimen, and on bundles deployed here."""
    faults = []
    for other in known:
        if other.backend == record.backend:
            where = "" if other.subject == SPECIMEN else f", with bundle {other.subject[:8]}"
            faults += [f"{v.target or record.backend}: {v}{where}" for v in other.faults]
    targets = tuple(map(str, record.sound))
    version = record.versions["engine"]
    return EngineHere(record.backend, targets, None, version, tuple(faults), record.date)


def _nearest_profile(found: Fingerprint) -> str | None:
    best = nearest(found, shipped())[0]
    if best.distance >= OTHER_ARCHITECTURE:
        return None
    return f"{best.profile.name} ({best.profile.provenance}): {best.reason}"


def lines(examination: Examination) -> Iterator[str]:
    """Yields an examination as lines for people."""
    for name, value in (*_machine(examination.fingerprint), *_moving(examination.state)):
        yield f"{name}: {value}"
    for engine in examination.engines:
        yield f"engine {engine.engine}: {engine}"
        for fault in (*engine.faults, *engine.remarks):
            yield f"   {fault}"
    if any(engine.faults for engine in examination.engines):
        yield "   after a change that no version tells of: tofa-edge doctor --probe-again"
    yield f"nearest profile: {examination.nearest_profile or 'none of this architecture'}"
    yield f"problems: {len(examination.problems) or 'none found'}"
    for number, problem in enumerate(examination.problems, 1):
        yield f"{number}. {problem.what}"
        yield f"   cost: {problem.cost}"
        yield f"   fix: {problem.fix}"


def _machine(found: Fingerprint) -> Iterator[tuple[str, str]]:
    designs = (f"{count} × {name}" for name, count in (found.processors or {}).items())
    clock = f", at most {found.maximum_clock_mhz:.0f} MHz" if found.maximum_clock_mhz else ""
    bits = f"{found.userland_bits or UNKNOWN} of {found.cpu_bits or UNKNOWN} bits"
    release = f" ({found.board_release})" if found.board_release else ""
    quota = f", {found.quota_cores:g} cores' time" if found.quota_cores else ""
    limit = f", of which this process may use {_size(found.memory_limit_bytes)}"
    system = (found.operating_system, found.kernel and f"Linux {found.kernel}")
    python = found.python and f"Python {found.python}"
    yield "board", (found.board or UNKNOWN) + release
    yield "processor", (", ".join(designs) or UNKNOWN) + clock
    yield "architecture", f"{found.architecture or UNKNOWN}, system uses {bits}"
    yield "instructions", _listed(found.features)
    yield "cores", f"{found.cores or UNKNOWN}, usable here: {found.usable_cores or UNKNOWN}{quota}"
    yield "memory", _size(found.memory_bytes) + (limit if found.memory_limit_bytes else "")
    yield "accelerators", _listed(found.accelerators)
    yield "system", ", ".join(word for word in (*system, python) if word) or UNKNOWN


def _moving(moving: State) -> Iterator[tuple[str, str]]:
    clocks = sorted({round(clock) for clock in moving.clocks_mhz or ()})
    heat = [f"{name} {value:.0f} °C" for name, value in (moving.temperatures_c or {}).items()]
    load = UNKNOWN if moving.load_average is None else f"{moving.load_average:.2f}"
    battery = {True: "battery", False: "mains", None: UNKNOWN}[moving.on_battery]
    yield "governor", ", ".join(moving.governors or ()) or UNKNOWN
    clock_range = " to ".join(map(str, dict.fromkeys((clocks[0], clocks[-1])))) if clocks else ""
    yield "clock now", f"{clock_range} MHz" if clock_range else UNKNOWN
    yield "temperature", ", ".join(heat) or UNKNOWN
    yield "held back now", _listed(moving.throttled_now)
    yield "held back since boot", _listed(moving.throttled_since_boot)
    if moving.power_mode is not None:
        yield "power mode", moving.power_mode.name
    yield "load", load
    yield "available memory", _size(moving.available_memory_bytes)
    yield "swap in use", _size(moving.swap_used_bytes)
    yield "power from", battery


def _listed(words: tuple[str, ...] | None) -> str:
    return UNKNOWN if words is None else ", ".join(words) or "none"


def _size(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count / 2**20:,.0f} MiB"
