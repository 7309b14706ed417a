"""What `doctor` reports about this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tofa_edge import backends
from tofa_edge.device.known_holes import known_holes
from tofa_edge.device.machine import Fingerprint, State, fingerprint, state
from tofa_edge.device.problems import Problem, problems
from tofa_edge.device_profiles.matching import OTHER_ARCHITECTURE, nearest
from tofa_edge.device_profiles.profile import shipped
from tofa_edge.selftest.records import SPECIMEN, Record, engine_records, forget_others, records_here
from tofa_edge.storage.plain import to_plain

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EngineHere:
    """Whether an engine works here, by its self-test."""

    engine: str  # its name
    targets: tuple[str, ...]  # on which it computed the right numbers
    missing: str | None  # why it is not available, and what to do
    version: str = ""  # of its package
    faults: tuple[str, ...] = ()  # what went wrong: the target, the kind of fault, the reason
    tried: str = ""  # date of the self-test, YYYY-MM-DD
    remarks: tuple[str, ...] = ()  # of the backend on its packages

    def __str__(self) -> str:
        result = f"works: {', '.join(self.targets)}" if self.targets else "not used"
        return self.missing or f"{result} ({self.version}, self-test of {self.tried})"


@dataclass(frozen=True, slots=True)
class Examination:
    """All that `doctor` reports: engines installed or not, problems the worst first."""

    fingerprint: Fingerprint
    state: State
    engines: tuple[EngineHere, ...]
    problems: tuple[Problem, ...]
    nearest_profile: str | None = None  # with the reason; None: none has this architecture

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; unknown ones are left out."""
        known = {"fingerprint": to_plain(self.fingerprint), "state": to_plain(self.state)}
        return dataclasses.asdict(self) | known


def examine(retest: bool = False) -> Examination:
    """Returns what this machine is, its state, which engines work, and what is wrong."""
    machine, current = fingerprint(), state()
    records = engine_records(again=retest)
    if retest:
        forget_others(records.values())
    engines = []
    for name, backend in backends.backends().items():
        missing = backend.missing()
        here = EngineHere(name, (), missing) if missing else _tested(records[name], records_here())
        engines.append(dataclasses.replace(here, remarks=backend.remarks()))
    found = (*problems(machine, current), *known_holes())
    return Examination(machine, current, tuple(engines), found, _nearest_profile(machine))


def _tested(record: Record, records: list[Record]) -> EngineHere:
    """Returns the result of an engine's self-tests: on a specimen, and on bundles deployed here."""
    faults = []
    for other in records:
        if other.backend == record.backend:
            where = "" if other.subject == SPECIMEN else f", with bundle {other.subject[:8]}"
            faults += [f"{v.target or record.backend}: {v}{where}" for v in other.faults]
    targets = tuple(map(str, record.sound))
    version = record.versions["engine"]
    return EngineHere(record.backend, targets, None, version, tuple(faults), record.date)


def _nearest_profile(machine: Fingerprint) -> str | None:
    best = nearest(machine, shipped())[0]
    if best.distance >= OTHER_ARCHITECTURE:
        return None
    return f"{best.profile.name} ({best.profile.provenance}): {best.reason}"


def lines(examination: Examination) -> Iterator[str]:
    """Yields an examination as lines of text."""
    for name, value in (*_machine(examination.fingerprint), *_current_state(examination.state)):
        yield f"{name}: {value}"
    for engine in examination.engines:
        yield f"engine {engine.engine}: {engine}"
        for fault in (*engine.faults, *engine.remarks):
            yield f"   {fault}"
    if any(engine.faults for engine in examination.engines):
        yield "   fixed it? run the self-tests again: tofa-edge doctor --retest"
    yield f"nearest profile: {examination.nearest_profile or 'none of this architecture'}"
    yield f"problems: {len(examination.problems) or 'none found'}"
    for number, problem in enumerate(examination.problems, 1):
        yield f"{number}. {problem.what}"
        yield f"   cost: {problem.cost}"
        yield f"   fix: {problem.fix}"


def _machine(machine: Fingerprint) -> Iterator[tuple[str, str]]:
    designs = (f"{count} × {name}" for name, count in (machine.processors or {}).items())
    clock = f", at most {machine.maximum_clock_mhz:.0f} MHz" if machine.maximum_clock_mhz else ""
    bits = f"{machine.userland_bits or UNKNOWN} of {machine.cpu_bits or UNKNOWN} bits"
    release = f" ({machine.board_release})" if machine.board_release else ""
    quota = f", {machine.quota_cores:g} cores' time" if machine.quota_cores else ""
    limit = f", of which this process may use {_size(machine.memory_limit_bytes)}"
    system = (machine.operating_system, machine.kernel and f"Linux {machine.kernel}")
    python = machine.python and f"Python {machine.python}"
    yield "board", (machine.board or UNKNOWN) + release
    yield "processor", (", ".join(designs) or UNKNOWN) + clock
    yield "architecture", f"{machine.architecture or UNKNOWN}, system uses {bits}"
    yield "instructions", _listed(machine.features)
    usable = f"usable here: {machine.usable_cores or UNKNOWN}{quota}"
    yield "cores", f"{machine.cores or UNKNOWN}, {usable}"
    yield "memory", _size(machine.memory_bytes) + (limit if machine.memory_limit_bytes else "")
    yield "accelerators", _listed(machine.accelerators)
    yield "system", ", ".join(word for word in (*system, python) if word) or UNKNOWN


def _current_state(current: State) -> Iterator[tuple[str, str]]:
    clocks = sorted({round(clock) for clock in current.clocks_mhz or ()})
    heat = [f"{name} {value:.0f} °C" for name, value in (current.temperatures_c or {}).items()]
    load = UNKNOWN if current.load_average is None else f"{current.load_average:.2f}"
    battery = {True: "battery", False: "mains", None: UNKNOWN}[current.on_battery]
    yield "governor", ", ".join(current.governors or ()) or UNKNOWN
    clock_range = " to ".join(map(str, dict.fromkeys((clocks[0], clocks[-1])))) if clocks else ""
    yield "clock now", f"{clock_range} MHz" if clock_range else UNKNOWN
    yield "temperature", ", ".join(heat) or UNKNOWN
    yield "throttled now", _listed(current.throttled_now)
    yield "throttled since boot", _listed(current.throttled_since_boot)
    if current.power_mode is not None:
        yield "power mode", current.power_mode.name
    yield "load", load
    yield "available memory", _size(current.available_memory_bytes)
    yield "swap in use", _size(current.swap_used_bytes)
    yield "power from", battery


def _listed(words: tuple[str, ...] | None) -> str:
    return UNKNOWN if words is None else ", ".join(words) or "none"


def _size(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count / 2**20:,.0f} MiB"
